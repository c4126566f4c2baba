"""Shared variances: the estimates against limma and against a likelihood, the bounds, and what is left alone."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import polygamma, stdtr
from scipy.stats import f as f_distribution
from scipy.stats import ttest_1samp

from ablation.stats.shared_variance import (
    LARGEST_SHARE,
    inverse_trigamma,
    mean_correlation,
    prior_of,
    share,
    shared_variances,
)

# 20 variances on 5 degrees of freedom each, and limma's squeezeVar(s2, df=5)$var.post, as in the tests of baseCode.
LIMMA_VARIANCES = [
    1.78378046394161, 0.32411186620655, 0.18750362204593, 0.73406084069494, 0.84846200919003, 0.49854708464318,
    0.87067912044480, 2.10149005062352, 0.49783053618211, 1.96270670366213, 1.09492895732680, 0.45883145861230,
    2.29233864739881, 2.78492560103654, 0.73148557590084, 1.49297311812343, 1.00136267192158, 1.62733987181720,
    0.56578600627573, 0.48078128591210,
]  # fmt: skip
LIMMA_SQUEEZED = [
    1.13463160907233, 1.02357408564721, 1.01318037484226, 1.05476467089923, 1.06346877707081, 1.03684582649836,
    1.06515914525263, 1.15880424656008, 1.03679130857722, 1.14824504508785, 1.08222098487247, 1.03382410014546,
    1.17332478398886, 1.21080280278533, 1.05456873428003, 1.11250580348159, 1.07510208134232, 1.12272897262558,
    1.04196163711857, 1.03549413227694,
]  # fmt: skip


def table(contrasts: int, seeds: int, seed: int = 0, deviations: float | list[float] = 1.0) -> numpy.ndarray:
    """Differences of cells to one baseline that has a deviation of 1."""
    random = numpy.random.default_rng(seed)
    cells = random.normal(size=(contrasts, seeds)) * numpy.reshape(deviations, (-1, 1))
    return cells - random.normal(size=seeds)


def values(differences) -> list[float]:
    return [variance.value for variance in shared_variances(differences)]


def test_prior_and_mean_of_both_are_those_of_limma():
    own, degrees = numpy.array(LIMMA_VARIANCES), numpy.full(20, 5.0)
    center, prior = prior_of(own, degrees)
    squeezed = (prior * center + degrees * own) / (prior + degrees)
    assert squeezed == pytest.approx(LIMMA_SQUEEZED, rel=1e-10)


def test_prior_is_near_that_of_the_largest_likelihood():
    random = numpy.random.default_rng(1)
    degrees, true_prior, true_center = 4.0, 6.0, 2.5
    own = true_center * f_distribution.rvs(degrees, true_prior, size=4000, random_state=random)

    def loss(parameters):
        center, prior = numpy.exp(parameters)
        return -f_distribution.logpdf(own / center, degrees, prior).sum() + len(own) * parameters[0]

    by_likelihood = numpy.exp(minimize(loss, [0.0, 1.0], method="Nelder-Mead").x)
    by_moments = prior_of(own, numpy.full(len(own), degrees))
    assert by_moments[0] == pytest.approx(by_likelihood[0], rel=0.05)
    assert by_moments[1] == pytest.approx(by_likelihood[1], rel=0.2)
    assert by_likelihood == pytest.approx([true_center, true_prior], rel=0.15)


@pytest.mark.parametrize("number", [1e-6, 1e-3, 0.3, 1.0, 12.0, 1e5])
def test_inverse_trigamma_inverts_scipys_trigamma(number):
    assert polygamma(1, inverse_trigamma(numpy.array(number))) == pytest.approx(number, rel=1e-8)


def test_mean_correlation_is_that_of_all_pairs():
    differences = table(7, 6)
    pairs = numpy.corrcoef(differences)[numpy.triu_indices(7, 1)]
    assert mean_correlation(differences) == pytest.approx(pairs.mean())


def test_small_variances_rise_and_large_ones_keep_their_own_test():
    differences = table(8, 5)
    variances = shared_variances(differences)
    assert any(variance.shared for variance in variances)
    assert not all(variance.shared for variance in variances)
    for row, variance in zip(differences, variances, strict=True):
        assert variance.own == pytest.approx(numpy.var(row, ddof=1))
        if variance.shared:
            assert variance.value > variance.own
            assert 4 < variance.degrees <= 4 * (1 + LARGEST_SHARE)
        else:
            assert (variance.value, variance.degrees) == (variance.own, 4)


def test_noisy_cell_keeps_the_interval_of_its_own_paired_t():
    differences = table(8, 5, deviations=[10.0] + [1.0] * 7)
    noisy = shared_variances(differences)[0]
    test = ttest_1samp(differences[0], 0)
    assert differences[0].mean() / noisy.standard_error == pytest.approx(test.statistic)
    assert noisy.degrees == test.df


def test_noisy_baseline_leaves_nothing_to_share():
    random = numpy.random.default_rng(3)
    differences = random.normal(size=(8, 5)) - 30 * random.normal(size=5)
    for variance in shared_variances(differences):
        assert variance.degrees == pytest.approx(4, abs=0.05)


def test_cells_of_very_different_noise_share_little():
    alike = shared_variances(table(12, 5))
    unlike = shared_variances(table(12, 5, deviations=[10.0**power for power in range(12)]))
    assert max(variance.degrees for variance in alike) == pytest.approx(6)
    assert max(variance.degrees for variance in unlike) < 4.5


def test_one_cell_like_the_baseline_does_not_end_the_sharing():
    differences = numpy.vstack([table(12, 5), 1e-9 * table(1, 5, seed=1)])
    assert max(variance.degrees for variance in shared_variances(differences)) > 4.5


def test_identical_variances_get_the_whole_share_and_stay():
    own, degrees = numpy.full(6, 2.0), numpy.full(6, 4.0)
    shared, totals = share(own, degrees, numpy.array(0.5))
    expected = prior_of(own, degrees)[0]  # the logarithm of a variance is below the truth on average
    assert expected > 2
    assert totals == pytest.approx(6)
    assert shared == pytest.approx((2 * expected + 4 * 2) / 6)


@pytest.mark.parametrize(("correlation", "added"), [(0.0, 2.0), (0.5, 2.0), (0.9, 4 * (1 / 0.81 - 1)), (1.0, 0.0)])
def test_correlated_contrasts_add_fewer_degrees(correlation, added):
    totals = share(numpy.full(5, 1.0), numpy.full(5, 4.0), numpy.array(correlation))[1]
    assert totals == pytest.approx(4 + added)


def test_fewer_than_five_contrasts_have_their_own_variance():
    for contrasts in (1, 2, 3, 4):
        assert not any(variance.shared for variance in shared_variances(table(contrasts, 5)))
    assert any(variance.shared for variance in shared_variances(table(5, 5)))
    assert shared_variances([]) == ()


def test_contrasts_without_noise_or_seeds_have_no_part():
    differences = table(6, 5).tolist()
    among_others = shared_variances([[2.0] * 5, *differences, [1.0, 2.0], [0.0] * 5])
    assert among_others == (None, *shared_variances(differences), None, None)


def test_contrasts_may_have_different_numbers_of_seeds():
    differences = [row[: 12 if index % 2 else 5] for index, row in enumerate(table(8, 12).tolist())]
    for row, variance in zip(differences, shared_variances(differences), strict=True):
        assert variance.seeds == len(row)
        assert len(row) - 1 <= variance.degrees <= (1 + LARGEST_SHARE) * (len(row) - 1)
        assert variance.standard_error == pytest.approx(math.sqrt(variance.value / len(row)))


def test_norms_make_averages_over_cells_comparable():
    differences = table(6, 5)
    norms = [1.0, 0.5, 2.0, 0.1, 1.0, 3.0]
    scaled = differences * numpy.reshape(norms, (-1, 1))
    expected = numpy.array(values(differences)) * numpy.square(norms)
    assert [v.value for v in shared_variances(scaled, norms)] == pytest.approx(expected.tolist())


@given(st.integers(0, 1000), st.integers(5, 15), st.integers(3, 9), st.floats(-9, 9))
def test_unit_of_the_metric_and_its_sign_change_nothing(seed, contrasts, seeds, exponent):
    differences = table(contrasts, seeds, seed)
    scaled = shared_variances(differences * -(10**exponent))
    for before, after in zip(shared_variances(differences), scaled, strict=True):
        assert after.value == pytest.approx(before.value * 100**exponent, rel=1e-6)
        assert after.degrees == pytest.approx(before.degrees, rel=1e-6)


@given(st.integers(0, 1000), st.permutations(range(7)))
def test_order_of_the_contrasts_changes_nothing(seed, order):
    differences = table(7, 5, seed)
    assert values(differences[order]) == pytest.approx([values(differences)[index] for index in order])


@given(st.integers(0, 1000), st.lists(st.floats(-3, 3), min_size=5, max_size=12), st.integers(3, 12))
def test_bounds_hold_for_any_noise_of_the_cells(seed, exponents, seeds):
    differences = table(len(exponents), seeds, seed, [10**exponent for exponent in exponents])
    for variance in shared_variances(differences):
        assert variance.value >= variance.own * (1 - 1e-12)
        assert seeds - 1 <= variance.degrees <= (1 + LARGEST_SHARE) * (seeds - 1)


def test_interval_of_a_noisy_cell_covers_as_often_as_its_own():
    random = numpy.random.default_rng(5)
    deviations = numpy.array([3.0, *[1.0] * 7])[:, None]
    noise = random.normal(size=(4000, 8, 5)) * deviations - random.normal(size=(4000, 1, 5))
    own = noise.var(axis=-1, ddof=1)
    shared, totals = share(own, numpy.full_like(own, 4.0), mean_correlation(noise))
    p = 2 * stdtr(totals, -abs(noise.mean(axis=-1)) / numpy.sqrt(shared / 5))
    assert 0.935 < (p[:, 0] > 0.05).mean() < 0.965  # limma's moderated t: .89
    assert (p[:, 1:] > 0.05).mean() > 0.945


def test_own_p_is_that_of_the_paired_t():
    differences = table(6, 5)
    for row, variance in zip(differences, shared_variances(differences), strict=True):
        test = ttest_1samp(row, 0)
        assert variance.own_p(row.mean()) == pytest.approx(test.pvalue)
        assert variance.own_standard_error == pytest.approx(row.std(ddof=1) / 5**0.5)
