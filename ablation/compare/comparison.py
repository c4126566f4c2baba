"""Comparison: a grid's cells against its baseline, as its manifest and the outcomes of its runs tell.

It says what was measured and how sure that is; ``judgment`` says what follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError, nearest
from ..store.results import VARIANTS, RunResult
from .attribution import steps
from .cell import compare_cell
from .derived import sensitivities
from .effects import main_effects
from .families import add_verdicts
from .measures import (
    EXACT,
    PARAMETERS,
    SENSITIVITY,
    SPIKES,
    STABILITY,
    TIME_TO_BASELINE,
    TIMED,
    TOKENS_PER_SECOND,
    TRAINING_STEP,
    Lens,
    measured_names,
    measures,
)
from .records import CellComparison, CellRecord, Comparison

EFFICIENCY = (*EXACT, *TIMED, TOKENS_PER_SECOND)


def compare(
    manifest: Mapping[str, Any],
    outcomes: Mapping[str, RunResult],
    metric: str | None = None,
    bench: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare every cell of the grid in ``manifest`` to its baseline; ``outcomes`` are by run id, absent means missing.

    ``metric`` is the one the table is about, by default the grid's own; ``bench`` is what ``ablate bench`` wrote.
    Raises InputError if no run has measured it.
    """
    seeds, looks = tuple(manifest["seeds"]), tuple(manifest.get("interim_looks") or ())
    chosen = metric or manifest["metric"]
    timings = {cell["run"]: cell for cell in (bench or {}).get("cells", ()) if "run" in cell}
    drafts = [CellRecord(cell, seeds, outcomes, timings.get(cell["runs"][0]["id"], {})) for cell in manifest["cells"]]
    swept = sensitivities(
        manifest["factors"],
        [(d.cell["label"], d.cell["levels"], [d.at(seed) for seed in seeds]) for d in drafts],
    )
    drafts = [replace(d, derived={SENSITIVITY: swept.get(d.cell["label"])} if swept else {}) for d in drafts]
    names = _names(chosen, drafts)
    directions = {manifest["metric"]: manifest["better"]}
    for draft in drafts:
        for run in draft.results:
            directions = {**run.directions, **directions}
    known = measures(names, directions, manifest.get("margins", {}))
    cells: list[CellComparison] = []
    for draft in drafts:
        cells.append(compare_cell(draft, known, cells[0] if cells else None, drafts[0], looks))
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
        interim_looks=looks,
        bench={key: value for key, value in (bench or {}).items() if key != "cells"},
        effects=effects,
        interactions=interactions,
        effects_note=effects_note,
        design=design,
        steps=steps(factors, cells, by_seed, seeds, looks) if design.get("stepwise") else (),
    )
    return add_verdicts(replace(comparison, primary=_primary(comparison)))


def _names(chosen: str, drafts: Sequence[CellRecord]) -> tuple[str, ...]:
    found = dict.fromkeys(name for draft in drafts for run in draft.results for name in measured_names(run))
    quality = [name for name in found if name not in EFFICIENCY and name not in STABILITY]
    # Before the first run has ended nothing is measured, and the table of what is planned is still wanted.
    if quality and chosen not in found:
        raise InputError(f"metric: no run has measured {chosen!r}; measured: {', '.join(found)}"
                         f"{nearest(chosen, found)}")  # fmt: skip
    finals = [name for name in quality if not name.endswith(VARIANTS)]
    ways = [name for name in quality if name.endswith(VARIANTS)]
    reaching = TIME_TO_BASELINE if any(run.evaluations for draft in drafts for run in draft.results) else ()
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
