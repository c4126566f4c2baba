"""Comparison: a grid's cells against its baseline, as its manifest and the outcomes of its runs tell.

It says what was measured and how sure that is; ``judgement`` says what follows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from ..errors import InputError, nearest
from .contrast import Contrast, paired, plural
from .effects import Effect, main_effects
from .judgement import judged, spendable
from .looks import ALPHA, seeds_at
from .measures import (
    EXACT,
    OTHER_WAYS,
    PARAMETERS,
    SENSITIVITY,
    SPEED_NOTE,
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
from .outcome import Outcome, Status, measured, unfinished
from .path import Step, steps
from .speed import REACHING, reached
from .sweep import sensitivities
from .verdict import Verdict

EFFICIENCY = (*EXACT, *TIMED, TOKENS_PER_SECOND)


@dataclass(frozen=True)
class MetricComparison:
    """One measure of one cell; ``values`` are per seed in the order of the grid's seeds, None where there is none.

    What was timed apart from training has no values by seed: its contrast is over processes, and of logarithms.
    """

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    sd: float | None
    contrast: Contrast | None
    """To the baseline; None for the baseline itself."""
    verdict: Verdict | None = None
    """Of the primary measure of a lens, where it was judged."""


@dataclass(frozen=True)
class CellComparison:
    """One cell of the grid: what it is, how its runs ended (in the order of its seeds), and its metrics."""

    label: str
    settings: Mapping[str, Any]
    levels: Mapping[str, str]
    seeds: tuple[int, ...]
    """Those planned for it: fewer than the grid's where it was decided early."""
    outcomes: tuple[Outcome, ...]
    metrics: Mapping[str, MetricComparison]

    def count(self, status: Status) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)


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
    drafts = [_Draft(cell, seeds, outcomes, timings.get(cell["runs"][0]["id"], {})) for cell in manifest["cells"]]
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
        cells.append(_cell(draft, known, cells[0] if cells else None, drafts[0], looks))
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
        steps=steps(factors, cells, by_seed, looks) if design.get("stepwise") else (),
    )
    return judged(replace(comparison, primary=_primary(comparison)))


@dataclass(frozen=True)
class _Draft:
    """A cell as the manifest has it, with what its runs came to."""

    cell: Mapping[str, Any]
    all_seeds: tuple[int, ...]
    known: Mapping[str, Outcome]
    bench: Mapping[str, Any]
    derived: Mapping[str, Sequence[float | None] | None] = field(default_factory=dict)
    """By measure, what several cells together have, seed by seed; None where some of these are not in the grid."""

    @property
    def ids(self) -> dict[int, str]:
        return {run["seed"]: run["id"] for run in self.cell["runs"]}

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(seed for seed in self.all_seeds if seed in self.ids)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(self.known.get(self.ids[seed], Outcome(self.ids[seed], "missing")) for seed in self.seeds)

    def at(self, seed: int) -> Outcome | None:
        """None where no run was planned."""
        run_id = self.ids.get(seed)
        return None if run_id is None else self.known.get(run_id, Outcome(run_id, "missing"))

    def timing(self, name: str) -> Mapping[str, Any]:
        return self.bench.get("measures", {}).get(name) or {}

    def exact(self, name: str) -> float | None:
        """What is counted, not trained."""
        if name == "peak_memory_bytes":
            return measured(self.bench.get(name))
        return measured((self.cell.get("work") or {}).get(name))


def _names(chosen: str, drafts: Sequence[_Draft]) -> tuple[str, ...]:
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


def _cell(
    draft: _Draft,
    known: Mapping[str, Measure],
    baseline: CellComparison | None,
    reference: _Draft,
    looks: Sequence[int],
) -> CellComparison:
    metrics = {}
    for name, measure in known.items():
        of_baseline = None if baseline is None else baseline.metrics[name]
        if measure.kind == "timed":
            metrics[name] = _timed(name, draft, is_baseline=baseline is None)
        elif name in REACHING:
            metrics[name] = _reaching(name, draft, reference, of_baseline, looks)
        else:
            metrics[name] = _by_seed(name, draft, of_baseline, baseline, looks)
    cell = draft.cell
    return CellComparison(cell["label"], cell["settings"], cell["levels"], draft.seeds, draft.outcomes, metrics)


def _by_seed(
    name: str,
    draft: _Draft,
    reference: MetricComparison | None,
    baseline: CellComparison | None,
    looks: Sequence[int],
) -> MetricComparison:
    derived = draft.derived.get(name)
    if derived is None and name in draft.derived:
        return _summary(name, (None,) * len(draft.all_seeds), None)
    counted = draft.exact(name)
    values = (
        tuple(derived)
        if derived is not None
        else tuple(
            None if (run := draft.at(seed)) is None else run.value(name) if counted is None else counted
            for seed in draft.all_seeds
        )
    )
    contrast = None
    if baseline is not None and reference is not None:
        obstacle = SPEED_NOTE if name == TOKENS_PER_SECOND else unfinished(draft.outcomes, name)
        if obstacle is None and (why := unfinished(baseline.outcomes, name)):
            obstacle = f"baseline: {why}"
        contrast = _contrast(draft, values, reference.values, obstacle, looks)
    return _summary(name, values, contrast)


def _reaching(
    name: str, draft: _Draft, reference: _Draft, of_baseline: MetricComparison | None, looks: Sequence[int]
) -> MetricComparison:
    """How far each seed had come when its loss was as good as the baseline's in the end; a ratio, so in logarithms."""
    values = tuple(reached(name, draft.at(seed), reference.at(seed)) for seed in draft.all_seeds)
    contrast = None
    if of_baseline is not None:
        planned = len(draft.seeds)
        lacking = planned - sum(value is not None for value in values)
        obstacle = f"the baseline's final loss was not reached in {lacking} of {plural(planned, 'seed')}"
        logs = [[None if v is None else math.log(v) for v in row] for row in (values, of_baseline.values)]
        contrast = _contrast(draft, logs[0], logs[1], obstacle if lacking else None, looks)
    return _summary(name, values, contrast)


def _timed(name: str, draft: _Draft, is_baseline: bool) -> MetricComparison:
    timing = draft.timing(name)
    ratios = [measured(ratio) for ratio in timing.get("log_ratios", ())]
    contrast = None if is_baseline else paired(ratios, [0.0] * len(ratios), None if ratios else "not timed")
    return MetricComparison(name, (), measured(timing.get("value")), None, contrast)


def _contrast(
    draft: _Draft,
    values: Sequence[float | None],
    references: Sequence[float | None],
    obstacle: str | None,
    looks: Sequence[int],
) -> Contrast:
    """Over the seeds that were planned for the cell, with what its look may spend of the confidence."""
    places = [place for place, seed in enumerate(draft.all_seeds) if seed in draft.ids]
    if looks:
        n_judged = seeds_at(len(places), looks)  # a look that was not planned would spend what no look has
        if not n_judged and obstacle is None:
            obstacle = f"{plural(len(places), 'seed')}: the first planned look is at {looks[0]}"
        places = places[:n_judged] or places
    alpha = spendable(len(places), looks) or ALPHA
    return paired([values[place] for place in places], [references[place] for place in places], obstacle, 1 - alpha)


def _summary(name: str, values: tuple[float | None, ...], contrast: Contrast | None) -> MetricComparison:
    present = [value for value in values if value is not None]
    mean, sd = fmean(present) if present else None, stdev(present) if len(present) > 1 else None
    return MetricComparison(name, values, mean, sd, contrast)
