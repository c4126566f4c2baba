"""Comparison: a grid's cells against its baseline, from its manifest and the results of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError, nearest
from ..store.results import VARIANTS, Better, RunResult
from .attribution import steps
from .cell import compare_cells
from .comparable import comparable_in_all, reason_incomparable
from .derived import sweeps
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
    Measure,
    measured_names,
    measures,
)
from .records import CellRecord, Comparison

EFFICIENCY = (*EXACT, *TIMED, TOKENS_PER_SECOND)


def compare(
    manifest: Mapping[str, Any],
    results: Mapping[str, RunResult],
    metric: str | None = None,
    bench: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare every cell of the grid in ``manifest`` with its baseline; ``results`` are by run id.

    ``metric`` is the one that the table is about, by default the grid's own; ``bench`` is what ``ablate bench`` wrote.
    Errors: InputError where no run has measured the metric.
    """
    seeds, looks = tuple(manifest["seeds"]), tuple(manifest.get("interim_looks") or ())
    chosen = metric or manifest["metric"]
    timings = {cell["run"]: cell for cell in (bench or {}).get("cells", ()) if "run" in cell}
    records = [CellRecord(cell, seeds, results, timings.get(cell["runs"][0]["id"], {})) for cell in manifest["cells"]]
    swept = sweeps(
        manifest["factors"],
        [(r.cell["label"], r.cell["levels"], [r.at(seed) for seed in seeds]) for r in records],
    )
    records = [
        replace(r, derived={name: by_label.get(r.cell["label"]) for name, by_label in swept.items()}) for r in records
    ]
    instead_of = None
    if metric is None and any(reason_incomparable(record, records[0], chosen) for record in records[1:]):
        measured = {name for record in records for run in record.results for name in run.metrics}
        if (comparable := comparable_in_all(records, measured)) is not None:
            chosen, instead_of = comparable, chosen
    names = measure_names(chosen, records)
    known = known_measures(names, manifest, records)
    cells = compare_cells(records, known, looks)
    factors = tuple(manifest["factors"])
    design = manifest.get("design", {})
    quality = [name for name in names if known[name].lens == "quality"]
    effects = main_effects(factors, cells, names, design, looks, quality)
    by_seed = [name for name in names if known[name].kind != "timed" and not known[name].ratio]
    comparison = Comparison(
        grid=manifest["grid"],
        metric=chosen,
        better=known[chosen].better,
        seeds=seeds,
        instead_of=instead_of,
        names=names,
        cells=tuple(cells),
        measures=known,
        primary={"quality": chosen, "stability": None, "efficiency": None},
        factors=factors,
        interim_looks=looks,
        variance=manifest.get("variance", "shared"),
        bench={key: value for key, value in (bench or {}).items() if key != "cells"},
        effects=effects.main,
        interactions=effects.interactions,
        effects_reason_missing=effects.reason_missing,
        effects_model=effects.model,
        design=design,
        data=tuple(manifest.get("data", ())),
        question=manifest.get("question"),
        tuning=manifest.get("tuning"),
        settings=tuple(each for each in manifest.get("settings", ()) if not each.startswith("tracking.")),
        changed=tuple((manifest.get("preregistration") or {}).get("changes", ())),
        steps=steps(factors, cells, by_seed, seeds, looks) if design.get("stepwise") else (),
    )
    return add_verdicts(replace(comparison, primary=_primary(comparison)))


def known_measures(
    names: Sequence[str], manifest: Mapping[str, Any], records: Sequence[CellRecord]
) -> dict[str, Measure]:
    """The measures of these names, with the directions that the runs recorded and the margins of the manifest."""
    directions: dict[str, Better | None] = {manifest["metric"]: manifest["better"]}
    units: dict[str, str] = {}
    for record in records:
        for run in record.results:
            directions, units = {**run.directions, **directions}, {**run.units, **units}
    return measures(names, directions, manifest.get("margins", {}), units)


def measure_names(chosen: str, records: Sequence[CellRecord]) -> tuple[str, ...]:
    """The names of all measures, in the order of ``Comparison.names``. Errors: InputError for one of no run."""
    runs = [run for record in records for run in record.results]
    measured = measured_names(runs)
    quality = [name for name in measured if name not in EFFICIENCY and name not in STABILITY]
    # Before the first run has ended nothing is measured, and there is a table of the planned runs all the same.
    if quality and chosen not in measured:
        raise InputError(f"metric: no run has measured {chosen!r}; measured: {', '.join(measured)}"
                         f"{nearest(chosen, measured)}")  # fmt: skip
    finals = [name for name in quality if not name.endswith(VARIANTS)]
    variants = [name for name in quality if name.endswith(VARIANTS)]
    times = TIME_TO_BASELINE if any(run.evaluations for run in runs) else ()
    stability = [*records[0].derived, *(name for name in STABILITY if name in measured)]
    counted = [name for name in EXACT if any(record.exact(name) is not None for record in records)]
    timed = [name for name in TIMED if any(record.timing(name) for record in records)]
    costs = [PARAMETERS, *counted, *timed, TOKENS_PER_SECOND]
    return tuple(dict.fromkeys([chosen, *finals, *times, *variants, *stability, *costs]))


def _primary(comparison: Comparison) -> dict[Lens, str | None]:
    """The declared measure of quality, the first of stability that was measured, and the time of a training step."""
    stability = next((name for name in (SENSITIVITY, SPIKES) if comparison.measured(name)), None)
    efficiency = TRAINING_STEP if comparison.measured(TRAINING_STEP) else None
    return {"quality": comparison.metric, "stability": stability, "efficiency": efficiency}
