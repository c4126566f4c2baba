"""Judgement: which differences of a comparison are verdicts, corrected for all that are judged at once.

One family holds every cell under every lens whose primary measure has noise; the main effects are another.
"""

# DOC-TO-MERGE: 'Best: the cell with the best mean, and all that cannot be told from it.'

from collections.abc import Sequence
from dataclasses import replace

from ..stats.contrast import Contrast, paired
from ..stats.sequential import ALPHA, alpha_at
from ..stats.verdict import Hypothesis, Verdict, adjust_family
from .derived import learning_rate_factor
from .measures import LENSES, SENSITIVITY, Measure
from .records import CellComparison, Comparison, Effect


def add_verdicts(comparison: Comparison) -> Comparison:
    """The same with verdicts on the primary measure of every lens, and on main effects and interactions."""
    names = [name for lens in LENSES if (name := comparison.primary[lens]) is not None]
    places = [
        (cell, name)
        for cell in comparison.cells[1:]
        for name in names
        if comparison.measures[name].better is not None
        and cell.metrics[name].contrast is not None
        and not repeats_sensitivity(comparison, cell, name)
    ]
    trials = [
        hypothesis(
            comparison.measures[name],
            cell.metrics[name].contrast,
            alpha_spent(len(cell.seeds), comparison.interim_looks),
        )
        for cell, name in places
    ]
    verdicts: dict[tuple[str, str], Verdict] = {
        (cell.label, name): verdict for (cell, name), verdict in zip(places, adjust_family(trials), strict=True)
    }
    cells = (comparison.baseline, *(_with(cell, verdicts) for cell in comparison.cells[1:]))
    effects, interactions = _effects(comparison, comparison.effects), _effects(comparison, comparison.interactions)
    return replace(comparison, cells=cells, effects=effects, interactions=interactions)


def repeats_sensitivity(comparison: Comparison, cell: CellComparison, name: str) -> bool:
    """Whether another cell has the same number: a sensitivity to the learning rate is that of all rates together."""
    swept = learning_rate_factor(comparison.factors)
    return name == SENSITIVITY and swept is not None and cell.levels[swept["path"]] != swept["baseline"]


def alpha_spent(n_seeds: int, looks: Sequence[int]) -> float:
    """What a cell with so many seeds may spend of the 5 %: all of it where there is one look."""
    return alpha_at(n_seeds, looks) if looks else ALPHA


def hypothesis(measure: Measure, contrast: Contrast | None, alpha: float) -> Hypothesis:
    """What is put to the test; nothing where an obstacle forbids an interval."""
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
    """Judged on the declared measure of quality; an interaction is no gain or loss, so it is only told from nothing."""
    measure = comparison.measures[comparison.metric]
    if measure.better is None or not effects:
        return tuple(effects)
    alpha = alpha_spent(len(comparison.seeds), comparison.interim_looks)
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    verdicts = adjust_family([hypothesis(measure, contrast, alpha) for contrast in contrasts])
    return tuple(replace(effect, verdict=verdict) for effect, verdict in zip(effects, verdicts, strict=True))


def best(comparison: Comparison) -> frozenset[str]:
    """Labels of the best cells by the grid's measure; none where all are, where too little is there, or nobody says.

    Every cell is tested against the one with the best mean, by paired t over seeds with Holm's correction. The best is
    chosen by the same numbers, so this errs on the side of calling too many different; it marks, it does not judge.
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
    alike = [o for o, v in zip(others, verdicts, strict=True) if v.label in ("inconclusive", "identical")]
    return frozenset() if len(alike) == len(others) else frozenset([top, *alike])
