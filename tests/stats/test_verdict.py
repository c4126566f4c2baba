"""The verdict on a comparison: every label, every guard, and the numbers under it."""

import math

import numpy
import pytest
from scipy.stats import permutation_test, ttest_1samp, ttest_rel
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import ttest_power
from statsmodels.stats.weightstats import ttost_paired

from ablation.stats.family import Hypothesis, adjust_family, judge
from ablation.stats.power import (
    minimum_detectable_effect,
    more_seeds,
    pooled_spread,
    power,
    probability_conclusive,
    seeds_needed,
)
from ablation.stats.robustness import Posterior, contradicted_from, p_sign_flip, posterior, sign_flip_p
from ablation.stats.shared_variance import Variance
from ablation.stats.verdict import exact, signed_differences

NOISE = (-1.2, 0.4, 0.9, -0.6, 0.5)  # mean 0, standard deviation .88


def around(mean: float, size: float = 1.0) -> tuple[float, ...]:
    return tuple(mean + size * number for number in NOISE)


def alone(*differences: float, margin: float | None = None, alpha: float = 0.05):
    return adjust_family([Hypothesis(differences, margin, alpha)])[0]


def test_difference_beyond_the_margin_is_clearly_better():
    verdict = alone(*around(5), margin=2)
    assert (verdict.label, verdict.exceeds_margin, verdict.within_margin) == ("better", True, False)
    assert verdict.trend is None
    assert verdict.sentence == "better, by more than the margin of 2"


def test_interval_across_the_margin_is_worse_but_not_clearly():
    verdict = alone(*around(-5), margin=4.5)
    assert (verdict.label, verdict.exceeds_margin) == ("worse", False)
    assert verdict.interval[0] < -4.5 < verdict.interval[1] < 0
    assert verdict.sentence == "worse, though not shown to exceed the margin of 4.5"


def test_zero_difference_within_the_margin_is_equivalent():
    verdict = alone(*around(0.1), margin=2)
    assert (verdict.label, verdict.within_margin) == ("equivalent", False)
    assert verdict.sentence == "equivalent, any difference lies within the margin of 2"


def test_difference_within_the_margin_is_equivalent_and_tiny():
    verdict = alone(*around(2), margin=9)
    assert (verdict.label, verdict.within_margin, verdict.exceeds_margin) == ("equivalent", True, False)


def test_wide_noise_is_inconclusive_and_reports_needed_seeds():
    verdict = alone(*around(0.2), margin=0.9)
    assert (verdict.label, verdict.trend) == ("inconclusive", None)
    low, high = verdict.more_seeds
    assert 1 <= low <= high
    assert verdict.sentence == f"inconclusive; about {low} to {high} more seeds would settle it at a margin of 0.9"


def test_mean_beyond_the_margin_alone_does_not_lean():
    verdict = alone(*around(-1), margin=0.9)
    assert verdict.p > 0.05 and verdict.mean < -verdict.margin
    assert (verdict.label, verdict.trend) == ("inconclusive", None)


def test_size_beyond_the_margin_is_corrected_for_the_family():
    """Alone its interval is beyond the margin; among six comparisons that is not sure any more."""
    alone_, *_ = judged = adjust_family([Hypothesis(around(3.0), 1.5)])
    assert alone_.exceeds_margin and not alone_.size_unsure and alone_.interval[0] > 1.5
    first, *_ = judged = adjust_family([Hypothesis(around(3.0), 1.5), *[Hypothesis(around(0.1), 1.5)] * 5])
    assert (first.label, first.exceeds_margin, first.size_unsure) == ("better", False, True)
    assert first.interval == alone_.interval and first.sentence.endswith("not shown to exceed the margin of 1.5")
    assert first.p_exceeds_holm == pytest.approx(6 * first.p_exceeds)
    assert not any(verdict.size_unsure for verdict in judged[1:])


@pytest.mark.parametrize("mean", [3.0, -3.0, 1.4])
def test_p_of_exceeding_is_the_t_test_against_the_margin(mean):
    sign = math.copysign(1.0, mean)
    one_sided = ttest_1samp([sign * d for d in around(mean)], 1.5, alternative="greater").pvalue
    assert alone(*around(mean), margin=1.5).p_exceeds == pytest.approx(min(1.0, 2 * one_sided))


def test_further_tests_of_a_table_count_in_its_family():
    family = judge([Hypothesis(around(1.3), 1.0)], [0.01, None])
    assert family.size == 3 and family.p_holm == (pytest.approx(0.03), None)
    assert family.verdicts[0].p_holm == pytest.approx(2 * family.verdicts[0].p)
    assert family.verdicts[0].p_equivalence_holm == pytest.approx(min(1, 3 * family.verdicts[0].p_equivalence))


def test_further_processes_are_named_for_what_was_timed():
    verdict = adjust_family([Hypothesis(around(0.2), 0.9, replicate="process")])[0]
    assert "more processes would settle it" in verdict.sentence and "seed" not in verdict.sentence


def test_significant_only_before_correction_is_a_trend():
    p = alone(*around(1.3)).p
    assert 0.025 < p < 0.05
    verdict = adjust_family([Hypothesis(around(1.3), None), Hypothesis(around(0), None)])[0]
    assert (verdict.label, verdict.trend, verdict.p_holm) == ("inconclusive", "better", pytest.approx(2 * p))


def test_no_margin_gives_neither_equivalent_nor_clear():
    assert alone(*around(0, 1e-6)).label == "inconclusive"
    verdict = alone(*around(50))
    assert (verdict.label, verdict.exceeds_margin, verdict.p_equivalence, verdict.sentence) == (
        "better",
        False,
        None,
        "better",
    )


def test_two_seeds_give_no_verdict():
    verdict = alone(5.0, 5.1, margin=1)
    assert (verdict.label, verdict.interval, verdict.p, verdict.mean) == (
        "inconclusive",
        None,
        None,
        pytest.approx(5.05),
    )
    assert verdict.sentence == "inconclusive; 2 seeds: an interval needs 3"


def test_zero_seeds_give_no_verdict():
    assert (alone().label, alone().mean) == ("inconclusive", None)


def test_first_planned_look_is_needed_for_a_conclusion():
    verdict = alone(*around(50), margin=1, alpha=0.0)
    assert (verdict.label, verdict.reason_missing) == ("inconclusive", "5 seeds: before the first planned look")


def test_zero_difference_in_every_seed_is_identical():
    assert alone(0.0, 0.0, 0.0, margin=1).label == "identical"
    assert alone(0.0, 0.0, 0.0).label == "identical"


def test_same_difference_in_every_seed_is_compared_exactly():
    verdict = alone(-0.1, -0.1, -0.1, -0.1, -0.1 - 1e-16, margin=0.02)
    assert (verdict.label, verdict.exceeds_margin, verdict.p, verdict.family) == ("worse", True, None, 0)
    assert verdict.sentence == "worse by exactly 0.1"
    assert alone(*[0.1] * 5, margin=0.2).sentence == "better by exactly 0.1, which lies within the margin of 0.2"


def test_noiseless_comparisons_are_outside_the_family():
    with_exact = adjust_family(
        [Hypothesis(around(1.3), None), Hypothesis((0.0,) * 5, None), Hypothesis((1.0,) * 5, None)]
    )
    assert with_exact[0].p_holm == with_exact[0].p
    assert with_exact[0].family == 1


def test_comparison_that_cannot_be_tested_yet_counts_in_family():
    first, second = adjust_family([Hypothesis(around(1.3), 1.0), Hypothesis((1.0, 2.0), 1.0)])
    assert first.family == second.family == 2
    assert first.p_holm == pytest.approx(2 * first.p)


def test_exact_difference_has_a_side_and_a_size():
    assert exact(3.0).label == "better"
    assert exact(0.0).label == "identical"
    assert exact(-3.0, margin=1.0).exceeds_margin


def test_each_hypothesis_is_compared_with_its_own_alpha():
    p = alone(*around(1.3)).p
    assert alone(*around(1.3), alpha=p * 1.01).label == "better"
    assert alone(*around(1.3), alpha=p * 0.99).label == "inconclusive"
    narrow, wide = alone(*around(1.3), alpha=0.05).interval, alone(*around(1.3), alpha=0.01).interval
    assert wide[0] < narrow[0] and narrow[1] < wide[1]


@pytest.mark.parametrize("seed", range(10))
def test_numbers_are_those_of_scipy_and_statsmodels(seed):
    noise = numpy.random.default_rng(seed)
    baseline = noise.normal(3, 1, 6)
    arms = [baseline + noise.normal(0.5 * k, 0.5, 6) for k in range(4)]
    verdicts = adjust_family([Hypothesis(signed_differences(arm, baseline, "lower"), 0.8) for arm in arms])
    ps = [ttest_rel(baseline, arm).pvalue for arm in arms]
    equivalences = [ttost_paired(baseline, arm, -0.8, 0.8)[0] for arm in arms]
    assert [v.p for v in verdicts] == pytest.approx(ps)
    assert [v.p_equivalence for v in verdicts] == pytest.approx(equivalences)
    assert [v.p_holm for v in verdicts] == pytest.approx(multipletests(ps, method="holm")[1])
    assert [v.p_equivalence_holm for v in verdicts] == pytest.approx(multipletests(equivalences, method="holm")[1])
    for verdict, arm in zip(verdicts, arms, strict=True):
        assert verdict.interval == pytest.approx(tuple(ttest_rel(baseline, arm).confidence_interval(0.95)))


def test_turning_a_trial_round_turns_the_verdict_round():
    there, back = alone(*around(5), margin=2), alone(*(-d for d in around(5)), margin=2)
    assert (there.label, back.label) == ("better", "worse")
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_differences_are_turned_so_that_plus_is_better():
    assert signed_differences([2.0, 3.0, 5.0], [1.0, 1.0, 1.0], "higher") == (1.0, 2.0, 4.0)
    assert signed_differences([2.0, 3.0, 5.0], [1.0, 1.0, 1.0], "lower") == (-1.0, -2.0, -4.0)


def test_rounding_is_not_taken_for_noise():
    values, references = [0.1 + 0.2, 1.1, 2.2 + 0.1], [0.3, 1.1, 2.3]
    assert signed_differences(values, references, "higher") == (0.0, 0.0, 0.0)
    assert len(set(signed_differences([3.1, 4.1, 5.1], [3.0, 4.0, 5.0], "higher"))) == 1


@pytest.mark.parametrize("pairs", [3, 5, 8, 12])
@pytest.mark.parametrize("effect", [0.2, 0.7, 1.5])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_power_is_that_of_statsmodels(pairs, effect, alpha):
    assert power(effect, pairs, alpha) == pytest.approx(ttest_power(effect, pairs, alpha), abs=1e-5)


@pytest.mark.parametrize(
    ("pairs", "family", "effect"),
    [(3, 1, 3.26), (5, 1, 1.68), (8, 1, 1.16), (3, 5, 7.32), (5, 5, 2.63), (12, 15, 1.36)],
)
def test_smallest_effect_that_can_be_seen(pairs, family, effect):
    assert minimum_detectable_effect(1.0, pairs, 0.05, family) == pytest.approx(effect, abs=0.005)
    assert minimum_detectable_effect(0.1, pairs, 0.05, family) == pytest.approx(effect / 10, abs=0.0005)


def test_seeds_needed_is_the_fewest_with_enough_power():
    needed = seeds_needed(1.0, 0.05)
    assert ttest_power(1.0, needed, 0.05) >= 0.8 > ttest_power(1.0, needed - 1, 0.05)
    assert seeds_needed(50.0, 0.05) == 3
    assert seeds_needed(1e-6, 0.05) is None


def test_needed_seeds_depend_on_the_margin_not_the_effect():
    near, far = (adjust_family([Hypothesis(around(mean), 0.9), Hypothesis(around(0), 0.9)])[0] for mean in (0.0, 0.5))
    assert near.label == far.label == "inconclusive"
    assert near.more_seeds == far.more_seeds


def test_more_than_fifty_needed_seeds_is_not_decidable():
    verdict = alone(*around(0.0), margin=0.1)
    assert verdict.more_seeds is None
    assert "not decidable at this scale" in verdict.sentence


def test_spread_is_pooled_over_arms_for_planning_only():
    trials = [
        Hypothesis(around(0.2), 0.8, measure="loss"),
        Hypothesis(around(0.1, 0.4), 0.8, measure="loss"),
        Hypothesis(around(0), 9.0),
    ]
    pooled, apart = (
        adjust_family(trials)[0],
        adjust_family([trials[0], *trials[2:], Hypothesis(around(0.1, 0.4), 0.8)])[0],
    )
    assert pooled.more_seeds[1] < apart.more_seeds[1]
    assert (pooled.interval, pooled.p_holm) == (apart.interval, apart.p_holm)


def test_a_noisy_cell_does_not_decide_how_many_seeds_the_others_need():
    quiet = [Hypothesis(around(mean, spread), 0.8, measure="loss") for mean, spread in ((0.2, 1.0), (0.1, 0.8))]
    noisy = Hypothesis(around(0.0, 20.0), 0.8, measure="loss")
    nothing = Hypothesis(around(0.0, 20.0), 0.8)
    beside, apart = adjust_family([*quiet, noisy]), adjust_family([*quiet, nothing])
    assert [verdict.more_seeds for verdict in beside] == [verdict.more_seeds for verdict in apart]
    assert beside[0].more_seeds and not beside[2].more_seeds
    assert "not decidable at this scale" in beside[2].sentence


def test_pooled_spread_counts_the_shared_baseline():
    deviation, freedom = pooled_spread([NOISE, NOISE])
    assert deviation == pytest.approx(numpy.std(NOISE, ddof=1))
    assert freedom == pytest.approx(8 / 1.25)
    assert more_seeds(pooled_spread([(1.0,)]), 5, 1.0, 0.05) == (None, None)


def test_chance_of_a_conclusion_is_what_happens():
    noise = numpy.random.default_rng(0)
    trials = [Hypothesis(tuple(noise.normal(0.5, 1, 6)), 1.5) for _ in range(1500)]
    conclusive = sum(adjust_family([trial])[0].label != "inconclusive" for trial in trials) / len(trials)
    assert conclusive == pytest.approx(probability_conclusive(1.0, 6, 1.5, 0.05, effect=0.5), abs=0.035)


def test_equal_difference_in_few_seeds_counts_for_exact_measures() -> None:
    few, many = (0.1,) * 3, (0.1,) * 5
    coarse, exactly, settled, none = adjust_family(
        [Hypothesis(few, 0.05), Hypothesis(few, 0.05, exact=True), Hypothesis(many, 0.05), Hypothesis((0.0,) * 3, 0.05)]
    )
    assert coarse.label == "inconclusive" and "may be chance" in (coarse.reason_missing or "")
    assert (exactly.label, settled.label, none.label) == ("better", "better", "identical")
    assert coarse.family == 1


@pytest.mark.parametrize("seeds", [3, 6, 7, 10])
@pytest.mark.parametrize("digits", [0, 1, 12], ids=["many ties", "ties", "none"])
def test_sign_flip_test_is_that_of_scipy(seeds: int, digits: int) -> None:
    rows = numpy.round(numpy.random.default_rng(seeds).normal(0.7, 1, (4, seeds)), digits)
    expected = [
        permutation_test((row,), numpy.mean, permutation_type="samples", n_resamples=numpy.inf, vectorized=True).pvalue
        for row in rows
    ]
    assert p_sign_flip(rows) == pytest.approx(expected)
    assert p_sign_flip(-rows) == pytest.approx(expected)


# Two groups of seeds: for the t it is one wide noise.
DOUBTED = (1.9, 1.5, 1.6, -0.1, -0.1, 1.4, 0.1, 1.4)


def test_sign_flip_test_changes_no_verdict() -> None:
    verdict = alone(*DOUBTED, margin=0.8)
    assert verdict.p_holm < 0.02 and contradicted_from(8, 0.05) <= sign_flip_p(DOUBTED) < 0.05 + 2 / 2**8
    assert (verdict.label, verdict.reason_missing) == ("better", None)


def test_half_a_step_of_the_sign_flip_test_is_no_disagreement() -> None:
    assert contradicted_from(8, 0.015) == pytest.approx(0.015 + 1 / 2**8)
    assert contradicted_from(6, 0.01) == contradicted_from(5, 0.05) == contradicted_from(21, 0.05) == math.inf


def test_sign_flip_test_denies_nothing_it_cannot_show() -> None:
    few, six = (3.0, 3.1, 2.9, 3.2, 3.0), (3.0, 3.1, 2.9, 3.2, 3.0, 3.1)
    assert (alone(*few).label, sign_flip_p(few)) == ("better", None)
    assert (alone(*six, alpha=0.01).label, sign_flip_p(six)) == ("better", 2 / 2**6)
    assert sign_flip_p(numpy.linspace(3, 4, 21)) is None
    assert sign_flip_p(numpy.linspace(3, 4, 20)) == 2 / 2**20


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_posterior_is_what_reference_prior_makes_of_differences(margin: float) -> None:
    """Drawn from it: sd^2 = sum of squares / chi2(n - 1), then the mean, normal with sd^2 / n (Box and Tiao 1973)."""
    noise = numpy.random.default_rng(0)
    differences = numpy.array(around(0.4))
    variances = ((differences - differences.mean()) ** 2).sum() / noise.chisquare(4, 200_000)
    drawn = noise.normal(differences.mean(), numpy.sqrt(variances / 5))
    found = posterior(differences.tolist(), margin)
    assert found.worse == pytest.approx((drawn < -margin).mean(), abs=0.005)
    assert found.better == pytest.approx((drawn > margin).mean(), abs=0.005)
    assert found.worse + found.within + found.better == pytest.approx(1)


def test_posterior_agrees_with_the_one_sided_tests() -> None:
    verdict, found = alone(*around(0.4), margin=1.0), posterior(around(0.4), 1.0)
    assert max(found.worse, found.better) == pytest.approx(verdict.p_equivalence)
    variance = Variance(0.9, 6.0, 1.1, 5)
    shared = adjust_family([Hypothesis(around(0.4), 1.0, variance=variance)])[0]
    belief = posterior(around(0.4), 1.0, variance)
    assert max(belief.worse, belief.better) == pytest.approx(shared.p_equivalence) != pytest.approx(found.better)
    assert posterior((1.0,), 0.1) is posterior((1.0, 1.0, 1.0), 0.1) is None
    assert posterior((1.0, 1.1, 1.2), 0.1).better > 0.99 and isinstance(found, Posterior)
