"""Judgement: which differences of a comparison are verdicts, corrected for all that are judged at once.

One family holds every cell under every lens whose primary measure has noise; the main effects are another.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .contrast import Contrast
from .looks import ALPHA, alpha_at
from .measures import LENSES, SENSITIVITY, Measure
from .sweep import rates
from .verdict import Trial, Verdict, judge

if TYPE_CHECKING:
    from .cell import CellComparison
    from .comparison import Comparison
    from .effects import Effect


def judged(comparison: "Comparison") -> "Comparison":
    """The same with verdicts on the primary measure of every lens, and on main effects and interactions."""
    names = [name for lens in LENSES if (name := comparison.primary[lens]) is not None]
    places = [
        (cell, name)
        for cell in comparison.cells[1:]
        for name in names
        if comparison.measures[name].better is not None
        and cell.metrics[name].contrast is not None
        and not repeats(comparison, cell, name)
    ]
    trials = [
        trial(comparison.measures[name], cell.metrics[name].contrast, spendable(len(cell.seeds), comparison.looks))
        for cell, name in places
    ]
    verdicts: dict[tuple[str, str], Verdict] = {
        (cell.label, name): verdict for (cell, name), verdict in zip(places, judge(trials), strict=True)
    }
    cells = (comparison.baseline, *(_with(cell, verdicts) for cell in comparison.cells[1:]))
    effects, interactions = _effects(comparison, comparison.effects), _effects(comparison, comparison.interactions)
    return replace(comparison, cells=cells, effects=effects, interactions=interactions)


def repeats(comparison: "Comparison", cell: "CellComparison", name: str) -> bool:
    """Whether another cell has the same number: a sensitivity to the learning rate is that of all rates together."""
    swept = rates(comparison.factors)
    return name == SENSITIVITY and swept is not None and cell.levels[swept["path"]] != swept["baseline"]


def spendable(n_seeds: int, looks: Sequence[int]) -> float:
    """What a cell with so many seeds may spend of the 5 %: all of it where there is one look."""
    return alpha_at(n_seeds, looks) if looks else ALPHA


def trial(measure: Measure, contrast: Contrast | None, alpha: float) -> Trial:
    """What is put to the test; nothing where an obstacle forbids an interval."""
    if contrast is None or contrast.interval is None:
        return Trial((), measure.margin, alpha, measure.name)
    sign = -1.0 if measure.better == "lower" else 1.0
    return Trial(tuple(sign * difference for difference in contrast.differences), measure.margin, alpha, measure.name)


def _with(cell: "CellComparison", verdicts: dict[tuple[str, str], Verdict]) -> "CellComparison":
    metrics = {name: replace(metric, verdict=verdicts.get((cell.label, name))) for name, metric in cell.metrics.items()}
    return replace(cell, metrics=metrics)


def _effects(comparison: "Comparison", effects: "Sequence[Effect]") -> "tuple[Effect, ...]":
    """Judged on the declared measure of quality; an interaction is no gain or loss, so it is only told from nothing."""
    measure = comparison.measures[comparison.metric]
    if measure.better is None or not effects:
        return tuple(effects)
    alpha = spendable(len(comparison.seeds), comparison.looks)
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    verdicts = judge([trial(measure, contrast, alpha) for contrast in contrasts])
    return tuple(replace(effect, verdict=verdict) for effect, verdict in zip(effects, verdicts, strict=True))
