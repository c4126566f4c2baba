"""Cell: one combination of levels against the baseline, measure by measure, as its runs and timings tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from .contrast import Contrast, paired, plural
from .judgement import spendable
from .looks import ALPHA, seeds_at
from .measures import Measure
from .outcome import Outcome, Status, measured, obstacle
from .speed import REACHING, reached
from .verdict import Verdict


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
class Draft:
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


def compared(
    draft: Draft,
    known: Mapping[str, Measure],
    baseline: CellComparison | None,
    reference: Draft,
    looks: Sequence[int],
) -> CellComparison:
    """Every measure of the cell; ``baseline`` is None for the baseline itself, whose draft is ``reference``."""
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
    draft: Draft,
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
        lacking = obstacle(draft.outcomes, name)
        if lacking is None and (why := obstacle(baseline.outcomes, name)):
            lacking = f"baseline: {why}"
        contrast = _contrast(draft, values, reference.values, lacking, looks)
    return _summary(name, values, contrast)


def _reaching(
    name: str, draft: Draft, reference: Draft, of_baseline: MetricComparison | None, looks: Sequence[int]
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


def _timed(name: str, draft: Draft, is_baseline: bool) -> MetricComparison:
    timing = draft.timing(name)
    ratios = [measured(ratio) for ratio in timing.get("log_ratios", ())]
    contrast = None if is_baseline else paired(ratios, [0.0] * len(ratios), None if ratios else "not timed")
    return MetricComparison(name, (), measured(timing.get("value")), None, contrast)


def _contrast(
    draft: Draft,
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
