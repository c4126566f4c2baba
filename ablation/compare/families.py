"""Families of tests: the verdicts of a comparison, corrected for all that its table states.

One family holds every cell under every lens whose primary measure has noise, the main effects and interactions, and
the tests on how often runs diverge, so that 5 % of tables in which nothing differs state anything at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import overload

from ..stats.contrast import Contrast
from ..stats.family import Hypothesis, boschloo, judge
from ..stats.sequential import ALPHA, alpha_at, seeds_at
from ..stats.shared_variance import shared_variances
from ..stats.verdict import DIVERGED, Verdict
from ..store.results import Better, RunResult
from .derived import learning_rate_factor
from .measures import LENSES, SENSITIVITY, Measure
from .on_demand import with_changes
from .records import CellComparison, Comparison, DivergenceTest, Effect


def add_verdicts(comparison: Comparison) -> Comparison:
    """The comparison with verdicts on the primary measure of every lens, on all effects, and on divergence."""
    (with_verdicts,) = add_verdicts_to_all([comparison])
    return with_verdicts


def add_verdicts_to_all(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same of several comparisons that one table states, as one family."""
    asked = [_Asked(comparison) for comparison in comparisons]
    others = [None if test is None else test.p for each in asked for _, test in each.divergences]
    family = judge([hypothesis for each in asked for hypothesis in each.hypotheses], others)
    verdicts, p_holm = iter(family.verdicts), iter(family.p_holm)
    return [each.answered(verdicts, p_holm, family.size) for each in asked]


class _Asked:
    """All that is tested of one comparison."""

    def __init__(self, comparison: Comparison):
        self.comparison = comparison
        names = [name for lens in LENSES if (name := comparison.primary[lens]) is not None]
        self.tested = [
            (cell, name)
            for cell in comparison.cells[1:]
            for name in names
            if comparison.measures[name].better is not None
            and cell.metrics[name].contrast is not None
            and name not in cell.incomparable
            and not repeats_sensitivity(comparison, cell, name)
        ]
        self.effects = [*comparison.effects, *comparison.interactions]
        if comparison.measures[comparison.metric].better is None:
            self.effects = []
        self.divergences = [
            (cell, _divergence(comparison, cell))
            for cell in comparison.cells[1:]
            if cell.count("diverged") or comparison.baseline.count("diverged")
        ]

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """Those on cells, then those on effects."""
        comparison = self.comparison
        hypotheses = [_of_cell(comparison, cell, name) for cell, name in self.tested]
        of_effects = [_of_effect(comparison, effect) for effect in self.effects]
        if comparison.variance == "shared":
            hypotheses = _shared_by_measure(comparison, hypotheses)
            of_effects = _shared(of_effects, [effect.norm for effect in self.effects])
        return [*hypotheses, *of_effects]

    def answered(self, found: Iterator[Verdict], p_holm: Iterator[float | None], family: int) -> Comparison:
        """The comparison with its part of the verdicts ``found`` and of the corrected p of tests on divergence."""
        comparison = self.comparison
        verdicts = {
            (cell.label, name): DIVERGED if cell.diverged and comparison.measures[name].lens == "quality" else verdict
            for (cell, name), verdict in zip(self.tested, islice(found, len(self.tested)), strict=True)
        }
        of_effects = list(islice(found, len(self.effects)))
        diverging = {
            cell.label: replace(test, p_holm=p)
            for (cell, test), p in zip(self.divergences, islice(p_holm, len(self.divergences)), strict=True)
            if test is not None and p is not None
        }
        cells = [_with(comparison, cell, verdicts, diverging.get(cell.label)) for cell in comparison.cells[1:]]
        comparison = replace(comparison, cells=(comparison.baseline, *cells), family=family)
        if not self.effects:
            return comparison
        with_verdicts = [
            _with_verdict(comparison, effect, verdict) for effect, verdict in zip(self.effects, of_effects, strict=True)
        ]
        n_effects = len(comparison.effects)
        return replace(
            comparison, effects=tuple(with_verdicts[:n_effects]), interactions=tuple(with_verdicts[n_effects:])
        )


def repeats_sensitivity(comparison: Comparison, cell: CellComparison, name: str) -> bool:
    """Whether another cell has the same number: cells that differ in the learning rate alone share one sensitivity."""
    rate = learning_rate_factor(comparison.factors)
    return name == SENSITIVITY and rate is not None and cell.levels[rate["path"]] != rate["baseline"]


def alpha_spent(n_seeds: int, looks: Sequence[int]) -> float:
    """The alpha of a cell with so many seeds: 5 % without interim looks, else that of the last look it reached."""
    return alpha_at(n_seeds, looks) if looks else ALPHA


def hypothesis(measure: Measure, contrast: Contrast | None, alpha: float) -> Hypothesis:
    """What is tested of a contrast; without differences where it has no interval."""
    replicate = "process" if measure.kind == "timed" else "seed"
    differences: tuple[float, ...] = ()
    if contrast is not None and contrast.interval is not None:
        sign = -1.0 if measure.better == "lower" else 1.0
        differences = tuple(sign * difference for difference in contrast.differences)
    return Hypothesis(differences, measure.margin, alpha, measure.name, replicate=replicate)


def _of_cell(comparison: Comparison, cell: CellComparison, name: str) -> Hypothesis:
    alpha = alpha_spent(len(cell.seeds), comparison.interim_looks)
    return hypothesis(comparison.measures[name], cell.metrics[name].contrast, alpha)


def _of_effect(comparison: Comparison, effect: Effect) -> Hypothesis:
    alpha = alpha_spent(len(comparison.baseline.seeds), comparison.interim_looks)
    found = hypothesis(comparison.measures[comparison.metric], effect.contrasts[comparison.metric], alpha)
    # How many seeds a cell needs does not follow from the spread of an average over cells.
    return replace(found, measure=None)


def _shared_by_measure(comparison: Comparison, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Cells by one measure share their variances; times, whose noise is the machine's, do not."""
    result = list(hypotheses)
    for name in {hypothesis.measure for hypothesis in hypotheses if hypothesis.measure is not None}:
        if comparison.measures[name].kind == "seeds":
            places = [index for index, hypothesis in enumerate(hypotheses) if hypothesis.measure == name]
            together = [hypotheses[place] for place in places]
            for place, hypothesis in zip(places, _shared(together, [1.0] * len(together)), strict=True):
                result[place] = hypothesis
    return result


def _shared(hypotheses: Sequence[Hypothesis], norms: Sequence[float]) -> list[Hypothesis]:
    variances = shared_variances([hypothesis.differences for hypothesis in hypotheses], norms)
    return [
        hypothesis if variance is None or not variance.shared else replace(hypothesis, variance=variance)
        for hypothesis, variance in zip(hypotheses, variances, strict=True)
    ]


def _with(
    comparison: Comparison,
    cell: CellComparison,
    verdicts: dict[tuple[str, str], Verdict],
    divergence: DivergenceTest | None,
) -> CellComparison:
    changes = {}
    for name in comparison.primary.values():
        if name is not None and (verdict := verdicts.get((cell.label, name))) is not None:
            metric = cell.metrics[name]
            compare = partial(_tested, metric.contrast, verdict, comparison.measures[name].better)
            changes[name] = replace(metric, verdict=verdict, compare=compare)
    return replace(cell, metrics=with_changes(cell.metrics, changes), divergence=divergence)


def _with_verdict(comparison: Comparison, effect: Effect, verdict: Verdict) -> Effect:
    contrast = _tested(effect.contrasts[comparison.metric], verdict, comparison.better)
    contrasts = with_changes(effect.contrasts, {comparison.metric: contrast})
    return replace(effect, verdict=verdict, contrasts=contrasts)


@overload
def _tested(contrast: Contrast, verdict: Verdict | None, better: Better | None) -> Contrast: ...
@overload
def _tested(contrast: Contrast | None, verdict: Verdict | None, better: Better | None) -> Contrast | None: ...
def _tested(contrast: Contrast | None, verdict: Verdict | None, better: Better | None) -> Contrast | None:
    """The contrast with the interval and p of its test, where that shares its variance with others."""
    if contrast is None or verdict is None or verdict.variance is None or verdict.interval is None:
        return contrast
    low, high = verdict.interval
    return replace(contrast, interval=(-high, -low) if better == "lower" else (low, high), p=verdict.p)


def _divergence(comparison: Comparison, cell: CellComparison) -> DivergenceTest | None:
    """The test before its correction; None where runs of either are missing, which may have diverged."""
    sides = [_tested_runs(comparison, each) for each in (cell, comparison.baseline)]
    if not all(runs and all(run.ended for run in runs) for runs in sides):
        return None
    counts = (*_counts(sides[0]), *_counts(sides[1]))
    alpha = alpha_spent(len(cell.seeds), comparison.interim_looks)
    p = boschloo(*counts)
    return DivergenceTest(*counts, p=p, p_holm=p, alpha=alpha)


def _tested_runs(comparison: Comparison, cell: CellComparison) -> Sequence[RunResult]:
    """The runs up to the last planned look."""
    looks = comparison.interim_looks
    return cell.results[: seeds_at(len(cell.seeds), looks)] if looks else cell.results


def _counts(runs: Sequence[RunResult]) -> tuple[int, int]:
    return sum(run.status == "diverged" for run in runs), len(runs)
