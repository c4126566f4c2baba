"""Intervals over seeds and examples: against statsmodels, a jackknife and simulations of coverage."""

import math
import warnings

import numpy
import pandas
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from ablation.stats import crossed as module
from ablation.stats.crossed import Crossed, crossed
from ablation.stats.shared_variance import Variance

TABLES = 3000


def sampled(
    random: numpy.random.Generator, seeds: int, examples: int, deviations: tuple[float, float, float]
) -> numpy.ndarray:
    """Differences of a seed, of an example, and of both, with these standard deviations and a mean of 0."""
    of_seed, of_example, of_both = deviations
    return (
        of_seed * random.normal(size=(seeds, 1))
        + of_example * random.normal(size=examples)
        + of_both * random.normal(size=(seeds, examples))
    )


def found(differences, counts=None, **options) -> Crossed:
    result = crossed(differences, numpy.ones(numpy.shape(differences)[1]) if counts is None else counts, **options)
    assert result is not None
    return result


def covers(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def test_components_are_those_of_a_mixed_model_by_reml():
    differences = 0.3 + sampled(numpy.random.default_rng(2), 5, 12, (0.5, 1.5, 1.0))
    rows = [(seed, example, value) for (seed, example), value in numpy.ndenumerate(differences)]
    frame = pandas.DataFrame(rows, columns=["seed", "example", "d"])
    parts = {"seed": "0 + C(seed)", "example": "0 + C(example)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sm.MixedLM.from_formula("d ~ 1", groups=numpy.ones(len(frame)), vc_formula=parts, data=frame)
        fit = model.fit(reml=True)
    by_name = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    result = found(differences)
    assert result.n_blocks == 12
    assert result.seeds == pytest.approx(by_name["seed"], rel=1e-3)
    assert result.examples == pytest.approx(by_name["example"], rel=1e-3)
    assert result.residual == pytest.approx(fit.scale, rel=1e-3)
    assert result.mean == pytest.approx(fit.params["Intercept"], rel=1e-6)
    assert result.standard_error == pytest.approx(fit.bse["Intercept"], rel=1e-3)


@pytest.mark.parametrize(
    "deviations", [(1, 0, 0.1), (0, 1, 1), (0.1, 1, 1), (0.3, 1, 1), (0.1, 3, 1), (0.2, 0, 1), (0.2, 1, 0.1)]
)
def test_interval_covers_the_mean_of_all_seeds_and_examples(deviations):
    random = numpy.random.default_rng(0)
    hits = [covers(found(sampled(random, 5, 64, deviations)).interval, 0) for _ in range(TABLES)]
    assert 0.93 <= numpy.mean(hits) <= 0.97


def test_interval_over_seeds_alone_misses_the_mean_of_all_examples():
    random, hits = numpy.random.default_rng(0), []
    for _ in range(500):
        means = sampled(random, 5, 64, (0.05, 1, 0.3)).mean(1)
        hits.append(covers(ttest_1samp(means, 0).confidence_interval(), 0))
    assert numpy.mean(hits) < 0.8


@pytest.mark.parametrize("by_length", [0.0, 1.0])
def test_longer_examples_count_by_their_targets(by_length):
    """The truth is the mean per target, also where long examples differ more than short ones."""
    random, hits, lengths = numpy.random.default_rng(1), [], numpy.arange(1, 20)
    truth = by_length * (lengths * lengths).sum() / lengths.sum() / 10
    for _ in range(TABLES):
        counts = random.integers(1, 20, size=96)
        differences = sampled(random, 5, 96, (0.1, 0.5, 0.5)) + by_length * counts / 10
        hits.append(covers(found(differences * counts, counts).interval, truth))
    assert 0.93 <= numpy.mean(hits) <= 0.97


def test_variance_of_unequal_examples_is_near_the_jackknife(monkeypatch):
    monkeypatch.setattr(module, "MOST_BLOCKS", 10**6)
    random = numpy.random.default_rng(3)
    counts = random.integers(1, 20, size=400).astype(float)
    of_example = random.normal(size=400) + counts / 10
    differences = (of_example + numpy.array([[-0.1], [0.0], [0.1]])) * counts  # no noise of both together
    means = numpy.array([numpy.delete(differences, e, 1).sum() / numpy.delete(counts, e).sum() / 3 for e in range(400)])
    jackknife = 399 / 400 * ((means - means.mean()) ** 2).sum()
    result = found(differences, counts)
    of_seeds = 0.1**2 / 3
    assert result.standard_error**2 - of_seeds == pytest.approx(jackknife, rel=0.02)
    assert result.mean == pytest.approx((of_example * counts).sum() / counts.sum())


def test_blocks_cover_where_neighbors_resemble_each_other(monkeypatch):
    def rate() -> float:
        random, hits = numpy.random.default_rng(4), []
        for _ in range(600):
            noise, windows = random.normal(size=512), numpy.empty(512)
            windows[0] = noise[0]
            for window in range(1, 512):
                windows[window] = 0.5 * windows[window - 1] + math.sqrt(0.75) * noise[window]
            differences = windows + sampled(random, 5, 512, (0.02, 0, 0.5))
            hits.append(covers(found(differences).interval, 0))
        return float(numpy.mean(hits))

    assert 0.93 <= rate() <= 0.97
    monkeypatch.setattr(module, "MOST_BLOCKS", 512)
    assert rate() < 0.9


def test_examples_without_variance_add_nothing_to_the_paired_t():
    means = numpy.array([0.3, 0.1, 0.4, 0.2])
    result = found(numpy.repeat(means[:, None], 20, axis=1))
    test = ttest_1samp(means, 0)
    assert result.interval == pytest.approx(tuple(test.confidence_interval()))
    assert (result.added, result.examples, result.degrees) == (0, 0, 3)


def test_shared_variance_takes_the_place_of_that_of_the_seeds():
    differences = sampled(numpy.random.default_rng(5), 5, 32, (1, 1, 0.5))
    own = numpy.var(differences.mean(1), ddof=1)
    usual, same, larger = (
        found(differences, variance=variance)
        for variance in (None, Variance(own, 4.0, own, 5), Variance(4 * own, 6.0, own, 5))
    )
    assert same.interval == pytest.approx(usual.interval)
    assert larger.standard_error**2 - usual.standard_error**2 == pytest.approx(3 * own / 5)
    assert larger.added < usual.added


def test_confidence_of_a_look_widens_the_interval():
    differences = sampled(numpy.random.default_rng(6), 5, 32, (1, 1, 0.5))
    narrow, wide = found(differences), found(differences, confidence=0.99)
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]
    assert wide.standard_error == narrow.standard_error


@given(
    st.integers(0, 10**6), st.integers(3, 8), st.integers(8, 70), st.sampled_from([(1, 0, 1), (0, 1, 1), (0.3, 1, 1)])
)
def test_interval_is_never_narrower_than_over_seeds_alone(number, seeds, examples, deviations):
    differences = sampled(numpy.random.default_rng(number), seeds, examples, deviations)
    alone = ttest_1samp(differences.mean(1), 0).confidence_interval()
    low, high = found(differences).interval
    assert low <= alone.low + 1e-9 and high >= alone.high - 1e-9


@pytest.mark.parametrize(("seeds", "examples"), [(2, 64), (5, 7)])
def test_too_few_seeds_or_examples_have_no_interval(seeds, examples):
    assert crossed(sampled(numpy.random.default_rng(7), seeds, examples, (1, 1, 1)), numpy.ones(examples)) is None


def test_seeds_that_do_not_differ_have_no_interval():
    assert crossed(numpy.ones((3, 20)), numpy.ones(20)) is None


def test_examples_without_targets_are_left_out():
    differences = sampled(numpy.random.default_rng(8), 4, 20, (1, 1, 1))
    counts = numpy.ones(20)
    counts[::4] = 0
    with_empty = numpy.where(counts > 0, differences, 0.0)
    assert found(with_empty, counts) == found(differences[:, counts > 0])
    assert found(with_empty, counts).n_examples == 15
