"""Families of tests: the verdicts of a comparison, each family corrected for all tests in it, and the best cells.

One family holds every cell under every lens whose primary measure has noise; main effects are another, and interactions
a third. The best cells, which a table marks, are the one with the best mean and all that do not differ from it.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..stats.contrast import Contrast, paired
from ..stats.sequential import ALPHA, alpha_at
from ..stats.verdict import Hypothesis, Verdict, adjust_family
from .derived import learning_rate_factor
from .measures import LENSES, SENSITIVITY, Measure
from .records import CellComparison, Comparison, Effect


def add_verdicts(comparison: Comparison) -> Comparison:
    """The comparison with verdicts on the primary measure of every lens, and on main effects and interactions."""
    names = [name for lens in LENSES if (name := comparison.primary[lens]) is not None]
    tested = [
        (cell, name)
        for cell in comparison.cells[1:]
        for name in names
        if comparison.measures[name].better is not None
        and cell.metrics[name].contrast is not None
        and not repeats_sensitivity(comparison, cell, name)
    ]
    hypotheses = [
        hypothesis(
            comparison.measures[name],
            cell.metrics[name].contrast,
            alpha_spent(len(cell.seeds), comparison.interim_looks),
        )
        for cell, name in tested
    ]
    verdicts: dict[tuple[str, str], Verdict] = {
        (cell.label, name): verdict for (cell, name), verdict in zip(tested, adjust_family(hypotheses), strict=True)
    }
    cells = (comparison.baseline, *(_with(cell, verdicts) for cell in comparison.cells[1:]))
    effects, interactions = _effects(comparison, comparison.effects), _effects(comparison, comparison.interactions)
    return replace(comparison, cells=cells, effects=effects, interactions=interactions)


def repeats_sensitivity(comparison: Comparison, cell: CellComparison, name: str) -> bool:
    """Whether another cell has the same number: cells that differ in the learning rate alone share one sensitivity."""
    rate = learning_rate_factor(comparison.factors)
    return name == SENSITIVITY and rate is not None and cell.levels[rate["path"]] != rate["baseline"]


def alpha_spent(n_seeds: int, looks: Sequence[int]) -> float:
    """The alpha of a cell with so many seeds: 5 % without interim looks, else that of the last look it reached."""
    return alpha_at(n_seeds, looks) if looks else ALPHA


def hypothesis(measure: Measure, contrast: Contrast | None, alpha: float) -> Hypothesis:
    """What is tested of a contrast; without differences where it has no interval."""
    if contrast is None or contrast.interval is None:
        return Hypothesis((), measure.margin, alpha, measure.name)
    sign = -1.0 if measure.better == "lower" else 1.0
    return Hypothesis(
        tuple(sign * difference for difference in contrast.differences), measure.margin, alpha, measure.name
    )


def _with(cell: CellComparison, verdicts: dict[tuple[str, str], Verdict]) -> CellComparison:
    metrics = {name: replace(metric, verdict=verdicts.get((cell.label, name))) for name, metric in cell.metrics.items()}
    return replace(cell, metrics=metrics)


def _effects(comparison: Comparison, effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Effects with their verdicts on the declared measure of quality.

    An interaction is neither better nor worse, so that of its verdict only the difference from zero counts.
    """
    measure = comparison.measures[comparison.metric]
    if measure.better is None or not effects:
        return tuple(effects)
    alpha = alpha_spent(len(comparison.seeds), comparison.interim_looks)
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    verdicts = adjust_family([hypothesis(measure, contrast, alpha) for contrast in contrasts])
    return tuple(replace(effect, verdict=verdict) for effect, verdict in zip(effects, verdicts, strict=True))


def best(comparison: Comparison) -> frozenset[str]:
    """Labels of the best cells by the grid's metric; none if all cells are, or if runs or a direction are missing.

    Every cell is tested against the one with the best mean, by paired t over seeds with Holm's correction. As the best
    is chosen by the same numbers, too many cells are called different; it is a mark in a table, not a verdict.
    """
    if comparison.better is None or any(cell.count("failed") or cell.count("missing") for cell in comparison.cells):
        return frozenset()
    means = {cell.label: cell.metrics[comparison.metric].mean for cell in comparison.cells}
    known = {label: mean for label, mean in means.items() if mean is not None}
    if len(known) < len(means):
        return frozenset()
    top = (min if comparison.better == "lower" else max)(known, key=known.__getitem__)
    values = {cell.label: cell.metrics[comparison.metric].values for cell in comparison.cells}
    others = [label for label in means if label != top]
    contrasts = [paired(values[label], values[top]) for label in others]
    if not contrasts or any(contrast.interval is None for contrast in contrasts):
        return frozenset()
    verdicts = adjust_family([Hypothesis(contrast.differences, None, ALPHA) for contrast in contrasts])
    tied = [o for o, v in zip(others, verdicts, strict=True) if v.label in ("inconclusive", "identical")]
    return frozenset() if len(tied) == len(others) else frozenset([top, *tied])
