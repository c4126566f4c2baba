"""Comparison: a grid's cells against its baseline, as its manifest and the outcomes of its runs tell.

It says what was measured and how sure that is; ``judgement`` says what follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError, nearest
from .cell import CellComparison, Draft, compared
from .effects import Effect, main_effects
from .judgement import judged
from .measures import (
    EXACT,
    OTHER_WAYS,
    PARAMETERS,
    SENSITIVITY,
    SPIKES,
    STABILITY,
    TIMED,
    TOKENS_PER_SECOND,
    TRAINING_STEP,
    Better,
    Lens,
    Measure,
    measures,
)
from .outcome import Outcome
from .path import Step, steps
from .speed import REACHING
from .sweep import sensitivities

EFFICIENCY = (*EXACT, *TIMED, TOKENS_PER_SECOND)


@dataclass(frozen=True)
class Comparison:
    """A grid compared; the first cell is the baseline."""

    grid: str
    metric: str
    better: Better | None
    """The good direction of ``metric``; None where nobody says."""
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    """Of all measures: the chosen one, the other measures of quality, those of stability, then of efficiency."""
    cells: tuple[CellComparison, ...]
    measures: Mapping[str, Measure]
    primary: Mapping[Lens, str | None]
    """The one measure of each lens on which verdicts rest; None where it was not measured."""
    factors: tuple[Mapping[str, Any], ...] = ()
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which verdicts were planned to be looked at; empty: once, with all."""
    bench: Mapping[str, Any] = field(default_factory=dict)
    """How the times were taken, absent where they were not."""
    effects: tuple[Effect, ...] = ()
    interactions: tuple[Effect, ...] = ()
    effects_note: str | None = None
    """Why there are no main effects although there is more than one factor."""
    design: Mapping[str, Any] = field(default_factory=dict)
    """How the cells were chosen and which were left out; empty of a grid that was run before designs were recorded."""
    steps: tuple[Step, ...] = ()
    """Each cell against the one before it, where the design makes a cell go on from that."""

    @property
    def baseline(self) -> CellComparison:
        return self.cells[0]

    @property
    def other_quality(self) -> tuple[str, ...]:
        """The measures of quality that the table is not about, each as it stood in the end."""
        return tuple(
            name
            for name in self.names
            if name != self.metric
            and self.measures[name].lens == "quality"
            and not name.endswith(OTHER_WAYS)
            and name not in REACHING
        )

    def measured(self, name: str) -> bool:
        """Whether any cell has a value of that metric."""
        return name in self.measures and any(cell.metrics[name].mean is not None for cell in self.cells)


def compare(
    manifest: Mapping[str, Any],
    outcomes: Mapping[str, Outcome],
    metric: str | None = None,
    bench: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare every cell of the grid in ``manifest`` to its baseline; ``outcomes`` are by run id, absent means missing.

    ``metric`` is the one the table is about, by default the grid's own; ``bench`` is what ``ablate bench`` wrote.
    Raises InputError if no run has measured it.
    """
    seeds, looks = tuple(manifest["seeds"]), tuple(manifest.get("looks") or ())
    chosen = metric or manifest["metric"]
    timings = {cell["run"]: cell for cell in (bench or {}).get("cells", ()) if "run" in cell}
    drafts = [Draft(cell, seeds, outcomes, timings.get(cell["runs"][0]["id"], {})) for cell in manifest["cells"]]
    swept = sensitivities(
        manifest["factors"],
        [(d.cell["label"], d.cell["levels"], [d.at(seed) for seed in seeds]) for d in drafts],
    )
    drafts = [replace(d, derived={SENSITIVITY: swept.get(d.cell["label"])} if swept else {}) for d in drafts]
    names = _names(chosen, drafts)
    directions = {manifest["metric"]: manifest["better"]}
    for draft in drafts:
        for run in draft.outcomes:
            directions = {**run.directions, **directions}
    known = measures(names, directions, manifest.get("margins", {}))
    cells: list[CellComparison] = []
    for draft in drafts:
        cells.append(compared(draft, known, cells[0] if cells else None, drafts[0], looks))
    factors = tuple(manifest["factors"])
    design = manifest.get("design", {})
    effects, interactions, effects_note = main_effects(factors, cells, names, design)
    by_seed = [name for name in names if known[name].kind != "timed" and not known[name].ratio]
    comparison = Comparison(
        grid=manifest["grid"],
        metric=chosen,
        better=known[chosen].better,
        seeds=seeds,
        names=names,
        cells=tuple(cells),
        measures=known,
        primary={"quality": chosen, "stability": None, "efficiency": None},
        factors=factors,
        looks=looks,
        bench={key: value for key, value in (bench or {}).items() if key != "cells"},
        effects=effects,
        interactions=interactions,
        effects_note=effects_note,
        design=design,
        steps=steps(factors, cells, by_seed, seeds, looks) if design.get("stepwise") else (),
    )
    return judged(replace(comparison, primary=_primary(comparison)))


def _names(chosen: str, drafts: Sequence[Draft]) -> tuple[str, ...]:
    found = dict.fromkeys(name for draft in drafts for run in draft.outcomes for name in run.metrics)
    quality = [name for name in found if name not in EFFICIENCY and name not in STABILITY]
    # Before the first run has ended nothing is measured, and the table of what is planned is still wanted.
    if quality and chosen not in found:
        raise InputError(f"metric: no run has measured {chosen!r}; measured: {', '.join(found)}"
                         f"{nearest(chosen, found)}")  # fmt: skip
    finals = [name for name in quality if not name.endswith(OTHER_WAYS)]
    ways = [name for name in quality if name.endswith(OTHER_WAYS)]
    reaching = REACHING if any(run.evaluations for draft in drafts for run in draft.outcomes) else ()
    stability = [*drafts[0].derived, *(name for name in STABILITY if name in found)]
    counted = [name for name in EXACT if any(draft.exact(name) is not None for draft in drafts)]
    timed = [name for name in TIMED if any(draft.timing(name) for draft in drafts)]
    costs = [PARAMETERS, *counted, *timed, TOKENS_PER_SECOND]
    return tuple(dict.fromkeys([chosen, *finals, *reaching, *ways, *stability, *costs]))


def _primary(comparison: Comparison) -> dict[Lens, str | None]:
    """The declared measure of quality, the first of stability that was measured, and the time of a training step."""
    stability = next((name for name in (SENSITIVITY, SPIKES) if comparison.measured(name)), None)
    efficiency = TRAINING_STEP if comparison.measured(TRAINING_STEP) else None
    return {"quality": comparison.metric, "stability": stability, "efficiency": efficiency}
