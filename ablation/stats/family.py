"""A family of comparisons: all that one table states, tested together so that 5 % of tables state something false.

Each comparison is tested three ways on its per-seed differences: is there a difference (two-sided t), is any difference
smaller than the margin (two one-sided tests, Schuirmann 1987), is the difference larger than the margin (t against the
margin). Each of the three is corrected over the family (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from statistics import fmean, median_low

from .contrast import MINIMUM_SEEDS, ROUNDING, SMALLEST, plural
from .moments import stdev
from .power import more_seeds, pooled_spread
from .shared_variance import Variance
from .verdict import Label, Side, Verdict, exact, side

TREND_P = 0.05
MIN_IDENTICAL = 5
"""Seeds that must have the very same difference before a measure that may have noise is taken to have none."""

NOISY = 3.0
"""Standard deviations above so many times the median over cells are taken for those of other noise."""


@dataclass(frozen=True)
class Hypothesis:
    """What is tested: per-seed differences to the baseline, with the sign that makes + better.

    ``margin`` is the smallest difference that matters, in the unit of the metric; ``alpha`` is that of this look, 0
    before the first planned one. Hypotheses on the same ``measure`` pool their spread, only to plan more seeds.
    """

    differences: tuple[float, ...]
    margin: float | None
    alpha: float = 0.05
    measure: str | None = None
    exact: bool = False
    """Whether the measure has no noise, so that the same difference in few seeds is not by chance."""
    replicate: str = "seed"
    """What one difference is of: a seed, or a process that took the time."""
    variance: Variance | None = None
    """That of the differences where other contrasts had a part in it; None: their own."""


@dataclass(frozen=True)
class Family:
    """The verdicts on the hypotheses, in order, and the corrected p of further tests that a table states."""

    verdicts: tuple[Verdict, ...]
    p_holm: tuple[float | None, ...]
    size: int


@dataclass(frozen=True)
class _Tested:
    """One comparison before the correction for the others."""

    mean: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_equivalence: float | None = None
    p_exceeds: float | None = None
    reason_missing: str | None = None


def adjust_family(hypotheses: Sequence[Hypothesis]) -> tuple[Verdict, ...]:
    """The verdicts on all comparisons, in order; see ``judge``."""
    return judge(hypotheses).verdicts


def judge(hypotheses: Sequence[Hypothesis], others: Sequence[float | None] = ()) -> Family:
    """The verdicts on all comparisons of a table; Holm's family is all those that have noise, and ``others``.

    ``others`` are the p of further tests of the same table, None for one that could not be done. A comparison that
    cannot be tested yet counts in the family as one with p = 1, since it is planned all the same. Differences that are
    the same in every seed have no noise, are compared exactly and are not in the family.
    """
    for hypothesis in hypotheses:
        assert all(map(isfinite, hypothesis.differences)), "differences are finite"
        assert hypothesis.margin is None or hypothesis.margin >= 0, "a margin is not negative"
    tests = {index: _test(hypothesis) for index, hypothesis in enumerate(hypotheses) if not _is_exact(hypothesis)}
    nothing = [None] * len(others)  # whether a difference is small or large is no question to them
    p_holm = _holm([*(test.p for test in tests.values()), *others])
    p_equivalence_holm = _holm([*(test.p_equivalence for test in tests.values()), *nothing])
    p_exceeds_holm = _holm([*(test.p_exceeds for test in tests.values()), *nothing])
    size = len(p_holm)
    spreads = _Spreads(hypotheses)
    adjusted = dict(zip(tests, zip(p_holm, p_equivalence_holm, p_exceeds_holm, strict=False), strict=False))
    verdicts = (
        _verdict(hypothesis, tests[index], adjusted[index], spreads, size)
        if index in tests
        else _exact_verdict(hypothesis)
        for index, hypothesis in enumerate(hypotheses)
    )
    return Family(tuple(verdicts), tuple(p_holm[len(tests) :]), size)


def _constant(differences: Sequence[float]) -> bool:
    if len(differences) < MINIMUM_SEEDS:
        return False
    return max(differences) - min(differences) <= max(ROUNDING * max(map(abs, differences)), SMALLEST)


def _is_exact(hypothesis: Hypothesis) -> bool:
    """Whether all seeds agree exactly. A coarse measure, such as accuracy on few examples, may do so by chance."""
    if not _constant(hypothesis.differences):
        return False
    return hypothesis.exact or not hypothesis.differences[0] or len(hypothesis.differences) >= MIN_IDENTICAL


def _exact_verdict(hypothesis: Hypothesis) -> Verdict:
    mean = fmean(hypothesis.differences)
    return exact(0.0 if abs(mean) <= SMALLEST else mean, hypothesis.margin)


def _test(hypothesis: Hypothesis) -> _Tested:
    pairs = len(hypothesis.differences)
    mean = fmean(hypothesis.differences) if pairs else None
    reason = None
    if mean is None or pairs < MINIMUM_SEEDS:
        reason = f"{plural(pairs, hypothesis.replicate)}: an interval needs {MINIMUM_SEEDS}"
    elif hypothesis.alpha <= 0:
        reason = f"{plural(pairs, hypothesis.replicate)}: before the first planned look"
    elif _constant(hypothesis.differences):
        same = f"the same difference in {plural(pairs, hypothesis.replicate)}"
        reason = f"{same} may be chance; {MIN_IDENTICAL} would settle it"
    if reason is not None or mean is None:
        return _Tested(mean, reason_missing=reason)
    from scipy.special import stdtr, stdtrit  # a second to import, so only where something is tested

    variance, margin = hypothesis.variance, hypothesis.margin
    if variance is None:
        error, freedom = stdev(hypothesis.differences) / sqrt(pairs), float(pairs - 1)
    else:
        error, freedom = variance.standard_error, variance.degrees
    half_width = -float(stdtrit(freedom, hypothesis.alpha / 2)) * error
    return _Tested(
        mean,
        (mean - half_width, mean + half_width),
        2 * float(stdtr(freedom, -abs(mean) / error)),
        None if margin is None else float(stdtr(freedom, (abs(mean) - margin) / error)),
        # Two-sided, since the side is chosen by the data.
        None if margin is None else min(1.0, 2 * float(stdtr(freedom, (margin - abs(mean)) / error))),
    )


def _holm(ps: Sequence[float | None]) -> list[float | None]:
    """As statsmodels' ``multipletests``, which runs the garbage collector, and so takes .1 s where torch is loaded."""
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    order = sorted(range(len(ps)), key=lambda index: _one_if_untested(ps[index]))
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * _one_if_untested(ps[index])))
        adjusted[index] = None if ps[index] is None else largest
    return adjusted


def _one_if_untested(p: float | None) -> float:
    return 1.0 if p is None else p


def _verdict(
    hypothesis: Hypothesis,
    test: _Tested,
    adjusted: tuple[float | None, float | None, float | None],
    spreads: "_Spreads",
    family: int,
) -> Verdict:
    margin, alpha, mean, reason = hypothesis.margin, hypothesis.alpha, test.mean, test.reason_missing
    p_holm, p_equivalence_holm, p_exceeds_holm = adjusted
    significant = p_holm is not None and p_holm < alpha
    equivalent = p_equivalence_holm is not None and p_equivalence_holm < alpha
    label: Label = "inconclusive"
    trend: Side | None = None
    more = None
    if equivalent:
        label = "equivalent"
    elif significant and mean is not None:
        label = side(mean)
    elif mean is not None and test.p is not None:
        trend = side(mean) if test.p < TREND_P else None
        if margin is not None:
            more, reason = more_seeds(spreads.of(hypothesis), len(hypothesis.differences), margin, alpha / family)
    return Verdict(
        label=label,
        exceeds_margin=p_exceeds_holm is not None and p_exceeds_holm < alpha,
        within_margin=significant and equivalent,
        trend=trend,
        mean=mean,
        interval=test.interval,
        p=test.p,
        p_equivalence=test.p_equivalence,
        p_exceeds=test.p_exceeds,
        p_holm=p_holm,
        p_equivalence_holm=p_equivalence_holm,
        p_exceeds_holm=p_exceeds_holm,
        margin=margin,
        alpha=alpha,
        family=family,
        more_seeds=more,
        replicate=hypothesis.replicate,
        variance=hypothesis.variance,
        reason_missing=reason,
    )


class _Spreads:
    """The pooled spread of the hypotheses on each measure, by which more seeds are planned for each of them.

    One whose differences do not vary is in no pool but its own. Nor is one that is ``NOISY``, or it would decide how
    many seeds the quiet ones need.
    """

    def __init__(self, hypotheses: Sequence[Hypothesis]):
        pools: dict[str, list[Hypothesis]] = {}
        for hypothesis in hypotheses:
            if hypothesis.measure is not None and not _constant(hypothesis.differences):
                pools.setdefault(hypothesis.measure, []).append(hypothesis)
        self._quiet = {measure: _quiet(pool) for measure, pool in pools.items()}
        self._known = {measure: _pooled(pool) for measure, pool in self._quiet.items()}
        self._in_pool = {id(hypothesis) for pool in self._quiet.values() for hypothesis in pool}

    def of(self, hypothesis: Hypothesis) -> tuple[float, float] | None:
        """As ``pooled_spread``."""
        measure = hypothesis.measure
        if measure is not None and id(hypothesis) in self._in_pool:
            return self._known[measure]
        others = self._quiet.get(measure, []) if measure is not None and _constant(hypothesis.differences) else []
        return _pooled([hypothesis, *others])


def _pooled(pool: Sequence[Hypothesis]) -> tuple[float, float] | None:
    return pooled_spread([each.differences for each in pool])


def _quiet(pool: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Those that are not ``NOISY``; all where fewer than three have a spread, of which none is the usual one."""
    spreads = [stdev(each.differences) if len(each.differences) > 1 else 0.0 for each in pool]
    known = [spread for spread in spreads if spread]
    if len(known) < 3:
        return list(pool)
    bound = NOISY * median_low(known)
    return [each for each, spread in zip(pool, spreads, strict=True) if spread <= bound]


@lru_cache(maxsize=256)
def boschloo(diverged: int, runs: int, baseline_diverged: int, baseline_runs: int) -> float:
    """The two-sided p of whether runs of a cell diverge as often as the baseline's (Boschloo 1970).

    More powerful than Fisher's test for few runs; 1 where all runs of both end alike.
    """
    from scipy.stats import boschloo_exact  # a second to import, so only where something is tested

    table = [[diverged, baseline_diverged], [runs - diverged, baseline_runs - baseline_diverged]]
    if not any(table[0]) or not any(table[1]):
        return 1.0
    return float(boschloo_exact(table).pvalue)
