"""Records: a grid's comparison as plain data. What computes them stands above, in the other modules of this package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..stats.contrast import Contrast
from ..stats.verdict import Verdict
from ..store.results import FAILED, VARIANTS, Better, RunResult, RunStatus, measured
from .measures import TIME_TO_BASELINE, Lens, Measure


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
    results: tuple[RunResult, ...]
    metrics: Mapping[str, MetricComparison]

    def count(self, status: RunStatus) -> int:
        return sum(run.status in (FAILED if status == "failed" else (status,)) for run in self.results)


@dataclass(frozen=True)
class CellRecord:
    """A cell as the manifest has it, with what its runs came to."""

    cell: Mapping[str, Any]
    all_seeds: tuple[int, ...]
    known: Mapping[str, RunResult]
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
    def results(self) -> tuple[RunResult, ...]:
        return tuple(self.known.get(self.ids[seed], RunResult(self.ids[seed], "missing")) for seed in self.seeds)

    def at(self, seed: int) -> RunResult | None:
        """None where no run was planned."""
        run_id = self.ids.get(seed)
        return None if run_id is None else self.known.get(run_id, RunResult(run_id, "missing"))

    def timing(self, name: str) -> Mapping[str, Any]:
        return self.bench.get("measures", {}).get(name) or {}

    def exact(self, name: str) -> float | None:
        """What is counted, not trained."""
        if name == "peak_memory_bytes":
            return measured(self.bench.get(name))
        return measured((self.cell.get("work") or {}).get(name))


@dataclass(frozen=True)
class Given:
    """The other factor of an interaction."""

    path: str
    name: str
    level: str
    baseline: str


@dataclass(frozen=True)
class Effect:
    """Cells with a level minus cells with the baseline's level, ``cells`` on either side.

    Of an interaction, how much that difference changes with another factor's level, ``given``: the difference of the
    differences.
    """

    path: str
    name: str
    level: str
    baseline: str
    cells: int
    contrasts: Mapping[str, Contrast]
    given: Given | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Step:
    """One cell minus the one before it, measure by measure; described, not judged: steps share their cells."""

    change: str
    """The levels in which the two differ."""
    cell: str
    before: str
    contrasts: Mapping[str, Contrast]


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
    interim_looks: tuple[int, ...] = ()
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
            and not name.endswith(VARIANTS)
            and name not in TIME_TO_BASELINE
        )

    def measured(self, name: str) -> bool:
        """Whether any cell has a value of that metric."""
        return name in self.measures and any(cell.metrics[name].mean is not None for cell in self.cells)
