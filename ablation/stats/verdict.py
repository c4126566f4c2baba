"""The verdict on a comparison: better, worse, equivalent, or inconclusive.

It rests on two tests of the per-seed differences. Is there a difference (two-sided paired t)? Is any difference smaller
than the margin (two one-sided tests, Schuirmann 1987)? Each is corrected over all comparisons of the table (Holm 1979).
"No significant difference" alone is never "equivalent", and without a margin nothing is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Literal

from .contrast import MINIMUM_SEEDS, ROUNDING, SMALLEST, plural
from .power import more_seeds, seeds_in_words

Label = Literal["better", "worse", "equivalent", "inconclusive", "identical"]
Side = Literal["better", "worse"]

TREND_P = 0.05
MIN_IDENTICAL = 5
"""Seeds that must have the very same difference before a measure that may have noise is taken to have none."""


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


@dataclass(frozen=True)
class Verdict:
    """A label and what it rests on.

    ``exceeds_margin``: the whole interval is beyond the margin. ``within_margin``: there is a difference, and it is
    smaller than the margin. ``trend``: the side to which an inconclusive comparison points. ``mean`` and ``interval``
    (two-sided, at level 1 - ``alpha``, of this comparison alone) are in the unit of the metric, + is better. ``p`` is
    that of the paired t, ``p_equivalence`` that of the equivalence test, ``p_holm`` and ``p_equivalence_holm`` are the
    same after Holm over a family of size ``family``; None where nothing was tested. ``more_seeds``: so many, from a to
    b, would settle it. ``reason_missing``: why there is no test, or no number of seeds.
    """

    label: Label
    exceeds_margin: bool
    within_margin: bool
    trend: Side | None
    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_equivalence: float | None
    p_holm: float | None
    p_equivalence_holm: float | None
    margin: float | None
    alpha: float
    family: int
    more_seeds: tuple[int, int] | None
    reason_missing: str | None

    @property
    def sentence(self) -> str:
        """The verdict in one plain sentence, without a full stop."""
        text = self._text()
        return text if self.reason_missing is None else f"{text}; {self.reason_missing}"

    def _text(self) -> str:
        margin = "" if self.margin is None else f" the margin of {self.margin:g}"
        match self.label:
            case "identical":
                return "identical in every seed"
            case "equivalent" if self.within_margin:
                return f"equivalent; there is a difference, and it lies within{margin}"
            case "equivalent":
                return f"equivalent, any difference lies within{margin}"
            case "inconclusive":
                trend = "" if self.trend is None else f", leaning {self.trend}"
                more = "" if self.more_seeds is None else (
                    f"; {seeds_in_words(self.more_seeds)} would settle it at a margin of {self.margin:g}")  # fmt: skip
                return f"inconclusive{trend}{more}"
            case _ if self.p is None:
                size = f"{self.label} by exactly {abs(self.mean or 0.0):g}"
                return f"{size}, which lies within{margin}" if self.within_margin else size
            case _ if self.exceeds_margin:
                return f"{self.label}, by more than{margin}"
            case _ if self.margin is not None:
                return f"{self.label}, though not surely by more than{margin}"
            case _:
                return self.label


@dataclass(frozen=True)
class _TestResult:
    """One comparison before the correction for the others."""

    mean: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_equivalence: float | None = None
    reason_missing: str | None = None


def signed_differences(
    values: Sequence[float], references: Sequence[float], better: Literal["lower", "higher"]
) -> tuple[float, ...]:
    """Per-seed differences of two complete sequences over the same seeds, + is better.

    The rounding of float64 is removed: a difference of that size becomes 0, and a spread of that size none.
    """
    sign = 1.0 if better == "higher" else -1.0
    differences = [sign * (value - reference) for value, reference in zip(values, references, strict=True)]
    rounding = max((ROUNDING * max(abs(v), abs(r)) for v, r in zip(values, references, strict=True)), default=0.0)
    if max(differences, default=0.0) - min(differences, default=0.0) <= rounding:
        differences = [fmean(differences)] * len(differences) if differences else []
    return tuple(0.0 if abs(difference) <= rounding else difference for difference in differences)


def exact(difference: float, margin: float | None = None) -> Verdict:
    """The verdict on a measure without noise, such as a count of parameters, from its one difference (+ is better)."""
    label: Label = "identical" if difference == 0 else _side(difference)
    within_margin = margin is not None and 0 < abs(difference) < margin
    exceeds_margin = margin is not None and abs(difference) > margin
    interval = (difference, difference)
    return Verdict(
        label,
        exceeds_margin,
        within_margin,
        None,
        difference,
        interval,
        None,
        None,
        None,
        None,
        margin,
        0.0,
        0,
        None,
        None,
    )


def adjust_family(hypotheses: Sequence[Hypothesis]) -> tuple[Verdict, ...]:
    """The verdicts on all comparisons of a table, in order; Holm's family is all those that have noise.

    A comparison that cannot be tested yet counts in the family as one with p = 1, since it is planned all the same.
    Differences that are the same in every seed have no noise, are compared exactly and are not in the family.
    """
    for hypothesis in hypotheses:
        assert all(map(isfinite, hypothesis.differences)), "differences are finite"
        assert hypothesis.margin is None or hypothesis.margin >= 0, "a margin is not negative"
    tests = {index: _test(hypothesis) for index, hypothesis in enumerate(hypotheses) if not _is_exact(hypothesis)}
    p_holm = _holm([test.p for test in tests.values()])
    p_equivalence_holm = _holm([test.p_equivalence for test in tests.values()])
    adjusted = dict(zip(tests, zip(p_holm, p_equivalence_holm, strict=True), strict=True))
    return tuple(
        _verdict(hypothesis, tests[index], *adjusted[index], hypotheses, len(tests))
        if index in tests
        else _exact_verdict(hypothesis)
        for index, hypothesis in enumerate(hypotheses)
    )


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


def _test(hypothesis: Hypothesis) -> _TestResult:
    pairs = len(hypothesis.differences)
    mean = fmean(hypothesis.differences) if pairs else None
    reason = None
    if pairs < MINIMUM_SEEDS:
        reason = f"{plural(pairs, 'seed')}: an interval needs {MINIMUM_SEEDS}"
    elif hypothesis.alpha <= 0:
        reason = f"{plural(pairs, 'seed')}: before the first planned look"
    elif _constant(hypothesis.differences):
        reason = f"the same difference in {pairs} seeds may be chance; {MIN_IDENTICAL} would settle it"
    if reason is not None:
        return _TestResult(mean, reason_missing=reason)
    from scipy.stats import ttest_1samp  # a second to import, so only where something is tested

    test = ttest_1samp(hypothesis.differences, 0.0)
    low, high = test.confidence_interval(1 - hypothesis.alpha)
    margin = hypothesis.margin
    p_equivalence = None if margin is None else _equivalence_p(hypothesis.differences, margin)
    return _TestResult(mean, (float(low), float(high)), float(test.pvalue), p_equivalence)


def _equivalence_p(differences: Sequence[float], margin: float) -> float:
    import numpy
    from statsmodels.stats.weightstats import ttost_paired  # type: ignore[import-untyped]

    p, _, _ = ttost_paired(numpy.array(differences), numpy.zeros(len(differences)), -margin, margin)
    return float(p)


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
    test: _TestResult,
    p_holm: float | None,
    p_equivalence_holm: float | None,
    hypotheses: Sequence[Hypothesis],
    family: int,
) -> Verdict:
    margin, alpha, mean, reason = hypothesis.margin, hypothesis.alpha, test.mean, test.reason_missing
    significant = p_holm is not None and p_holm < alpha
    equivalent = p_equivalence_holm is not None and p_equivalence_holm < alpha
    label: Label = "inconclusive"
    trend: Side | None = None
    exceeds_margin, more = False, None
    if equivalent:
        label = "equivalent"
    elif significant and mean is not None and test.interval is not None:
        label = _side(mean)
        nearest_bound = test.interval[0] if mean > 0 else -test.interval[1]
        exceeds_margin = margin is not None and nearest_bound > margin
    elif mean is not None and test.p is not None:
        trend = _side(mean) if test.p < TREND_P or (margin is not None and abs(mean) > margin) else None
        if margin is not None:
            pool = [
                other.differences for other in hypotheses if other is hypothesis or _same_measure(other, hypothesis)
            ]
            more, reason = more_seeds(pool, len(hypothesis.differences), margin, alpha / family)
    within_margin = significant and equivalent
    return Verdict(label, exceeds_margin, within_margin, trend, mean, test.interval, test.p, test.p_equivalence, p_holm,
                   p_equivalence_holm, margin, alpha, family, more, reason)  # fmt: skip


def _same_measure(other: Hypothesis, hypothesis: Hypothesis) -> bool:
    if hypothesis.measure is None or other.measure != hypothesis.measure:
        return False
    return not _constant(other.differences)


def _side(mean: float) -> Side:
    return "better" if mean > 0 else "worse"
