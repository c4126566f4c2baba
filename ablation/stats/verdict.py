"""The verdict on a comparison: better, worse, equivalent, or that the runs do not carry one.

Two questions are asked of the per-seed differences. Is there a difference (two-sided paired t)? Is any difference
smaller than the margin (two one-sided tests, Schuirmann 1987)? Each is corrected over all comparisons of the table
(Holm 1979). "No significant difference" alone is never "equivalent", and without a margin nothing is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Literal

from .contrast import MINIMUM_SEEDS, ROUNDING, SMALLEST, plural
from .power import more_seeds, seeds_in_words

Label = Literal["better", "worse", "equivalent", "inconclusive", "identical", "different"]
Side = Literal["better", "worse"]

TREND_P = 0.05
FEWEST_ALIKE = 5
"""Seeds that must show the very same difference before a measure that may have noise is taken to have none."""


@dataclass(frozen=True)
class Hypothesis:
    """What a verdict is asked of: per-seed differences to the baseline, turned so that + is better.

    ``margin`` is the smallest difference that matters, in the unit of the metric; ``alpha`` is what this look may
    spend, 0 before the first planned look. Trials of the same ``measure`` share their spread, only to plan more seeds.
    """

    differences: tuple[float, ...]
    margin: float | None
    alpha: float = 0.05
    measure: str | None = None
    exact: bool = False
    """Whether the measure has no noise, so that the same difference in few seeds is no coincidence."""


@dataclass(frozen=True)
class Verdict:
    """A label and what it rests on.

    ``clear`` says that the whole interval lies beyond the margin, ``tiny`` that there is a difference and it lies
    within the margin; ``leaning`` is where an inconclusive one points. ``mean`` and ``interval`` (two-sided, at level
    1 - ``alpha``, of this comparison alone) are in the unit of the metric, + is better. ``p`` is of the paired t,
    ``p_equivalence`` of the equivalence test, ``p_holm`` and ``p_equivalence_holm`` are theirs after Holm over a family
    of size ``family``; None where nothing was tested. ``more_seeds`` (a, b) would settle it; ``note`` is what else
    there is to say.
    """

    label: Label
    clear: bool
    tiny: bool
    leaning: Side | None
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
    note: str | None

    @property
    def sentence(self) -> str:
        """The verdict in one plain sentence, without a full stop."""
        words = self._words()
        return words if self.note is None else f"{words}; {self.note}"

    def _words(self) -> str:
        within = "" if self.margin is None else f" the margin of {self.margin:g}"
        match self.label:
            case "identical":
                return "identical in every seed"
            case "different":
                return f"different by exactly {self.mean:g}"
            case "equivalent" if self.tiny:
                return f"equivalent; there is a difference, and it lies within{within}"
            case "equivalent":
                return f"equivalent, any difference lies within{within}"
            case "inconclusive":
                leaning = "" if self.leaning is None else f", leaning {self.leaning}"
                more = "" if self.more_seeds is None else (
                    f"; {seeds_in_words(self.more_seeds)} would settle it at a margin of {self.margin:g}")  # fmt: skip
                return f"inconclusive{leaning}{more}"
            case _ if self.p is None:
                size = f"{self.label} by exactly {abs(self.mean or 0.0):g}"
                return f"{size}, which lies within{within}" if self.tiny else size
            case _ if self.clear:
                return f"{self.label}, by more than{within}"
            case _ if self.margin is not None:
                return f"{self.label}, though not surely by more than{within}"
            case _:
                return self.label


@dataclass(frozen=True)
class _Tested:
    mean: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_equivalence: float | None = None
    note: str | None = None


def signed_differences(
    values: Sequence[float], references: Sequence[float], better: Literal["lower", "higher"]
) -> tuple[float, ...]:
    """Per-seed differences of two complete sequences over the same seeds, + is better.

    What is only the rounding of float64 is taken out: such differences are 0, and such a spread is none.
    """
    sign = 1.0 if better == "higher" else -1.0
    differences = [sign * (value - reference) for value, reference in zip(values, references, strict=True)]
    rounding = max((ROUNDING * max(abs(v), abs(r)) for v, r in zip(values, references, strict=True)), default=0.0)
    if max(differences, default=0.0) - min(differences, default=0.0) <= rounding:
        differences = [fmean(differences)] * len(differences) if differences else []
    return tuple(0.0 if abs(difference) <= rounding else difference for difference in differences)


def exact(difference: float, margin: float | None = None, directed: bool = True) -> Verdict:
    """The verdict on a measure without noise, such as a count of parameters, from its one difference (+ is better).

    A measure that has no good direction (``directed`` false) is different or identical.
    """
    label: Label = "identical" if difference == 0 else "different" if not directed else _side(difference)
    within = margin is not None and 0 < abs(difference) < margin
    clear = label in ("better", "worse") and margin is not None and abs(difference) > margin
    at = (difference, difference)
    return Verdict(label, clear, within, None, difference, at, None, None, None, None, margin, 0.0, 0, None, None)


def adjust_family(trials: Sequence[Hypothesis]) -> tuple[Verdict, ...]:
    """The verdicts on all comparisons of a table, in order; the family of Holm is all those that have noise.

    A comparison that cannot be tested yet counts in the family as one with p = 1: what is planned does not get cheaper
    because it is not there. Differences that are the same in every seed have no noise, are compared exactly and stand
    outside the family.
    """
    for trial in trials:
        assert all(map(isfinite, trial.differences)), "differences are finite"
        assert trial.margin is None or trial.margin >= 0, "a margin is not negative"
    tested = {place: _test(trial) for place, trial in enumerate(trials) if not _settled(trial)}
    adjusted = _holm([found.p for found in tested.values()])
    adjusted_equivalence = _holm([found.p_equivalence for found in tested.values()])
    corrected = dict(zip(tested, zip(adjusted, adjusted_equivalence, strict=True), strict=True))
    return tuple(
        _verdict(trial, tested[place], *corrected[place], trials, len(tested)) if place in tested else _same(trial)
        for place, trial in enumerate(trials)
    )


def _constant(differences: Sequence[float]) -> bool:
    if len(differences) < MINIMUM_SEEDS:
        return False
    return max(differences) - min(differences) <= max(ROUNDING * max(map(abs, differences)), SMALLEST)


def _settled(trial: Hypothesis) -> bool:
    """Whether all seeds say the same. A coarse measure, such as accuracy on few examples, may do so by chance."""
    if not _constant(trial.differences):
        return False
    return trial.exact or not trial.differences[0] or len(trial.differences) >= FEWEST_ALIKE


def _same(trial: Hypothesis) -> Verdict:
    mean = fmean(trial.differences)
    return exact(0.0 if abs(mean) <= SMALLEST else mean, trial.margin)


def _test(trial: Hypothesis) -> _Tested:
    pairs = len(trial.differences)
    mean = fmean(trial.differences) if pairs else None
    if pairs < MINIMUM_SEEDS:
        return _Tested(mean, note=f"{plural(pairs, 'seed')}: an interval needs {MINIMUM_SEEDS}")
    if trial.alpha <= 0:
        return _Tested(mean, note=f"{plural(pairs, 'seed')}: before the first planned look")
    if _constant(trial.differences):
        return _Tested(mean, note=f"the same difference in {pairs} seeds may be chance; {FEWEST_ALIKE} would tell")
    from scipy.stats import ttest_1samp  # a second to import, so only where something is tested

    test = ttest_1samp(trial.differences, 0.0)
    low, high = test.confidence_interval(1 - trial.alpha)
    equivalence = None if trial.margin is None else _equivalence(trial.differences, trial.margin)
    return _Tested(mean, (float(low), float(high)), float(test.pvalue), equivalence)


def _equivalence(differences: Sequence[float], margin: float) -> float:
    import numpy
    from statsmodels.stats.weightstats import ttost_paired  # type: ignore[import-untyped]

    p, _, _ = ttost_paired(numpy.array(differences), numpy.zeros(len(differences)), -margin, margin)
    return float(p)


def _holm(ps: Sequence[float | None]) -> list[float | None]:
    """As ``multipletests`` of statsmodels, which collects garbage at every call: a tenth of a second beside torch."""
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    ranked = sorted(range(len(ps)), key=lambda place: _one_if_untested(ps[place]))
    for rank, place in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ps) - rank) * _one_if_untested(ps[place])))
        adjusted[place] = None if ps[place] is None else largest
    return adjusted


def _one_if_untested(p: float | None) -> float:
    return 1.0 if p is None else p


def _verdict(
    trial: Hypothesis,
    found: _Tested,
    p_holm: float | None,
    p_equivalence_holm: float | None,
    trials: Sequence[Hypothesis],
    family: int,
) -> Verdict:
    margin, alpha, mean, note = trial.margin, trial.alpha, found.mean, found.note
    significant = p_holm is not None and p_holm < alpha
    equivalent = p_equivalence_holm is not None and p_equivalence_holm < alpha
    label: Label = "inconclusive"
    leaning: Side | None = None
    clear, more = False, None
    if equivalent:
        label = "equivalent"
    elif significant and mean is not None and found.interval is not None:
        label = _side(mean)
        beyond = found.interval[0] if mean > 0 else -found.interval[1]
        clear = margin is not None and beyond > margin
    elif mean is not None and found.p is not None:
        leaning = _side(mean) if found.p < TREND_P or (margin is not None and abs(mean) > margin) else None
        if margin is not None:
            pool = [other.differences for other in trials if other is trial or _alike(other, trial)]
            more, note = more_seeds(pool, len(trial.differences), margin, alpha / family)
    tiny = significant and equivalent
    return Verdict(label, clear, tiny, leaning, mean, found.interval, found.p, found.p_equivalence, p_holm,
                   p_equivalence_holm, margin, alpha, family, more, note)  # fmt: skip


def _alike(other: Hypothesis, trial: Hypothesis) -> bool:
    return trial.measure is not None and other.measure == trial.measure and not _constant(other.differences)


def _side(mean: float) -> Side:
    return "better" if mean > 0 else "worse"
