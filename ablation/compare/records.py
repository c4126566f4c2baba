"""Records: a grid's comparison as plain data, which the other modules of this package compute."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..stats.contrast import Contrast
from ..stats.moments import stdev
from ..stats.verdict import Verdict
from ..store.results import FAILED, UNFINISHED, VARIANTS, Better, RunResult, RunStatus, measured, set_of
from .measures import TIME_TO_BASELINE, Lens, Measure
from .stability import Stability, classify_stability

_OF_SIZE = re.compile(r"\d+x|(depth)?\d+(-\d+)?")
"""Names of sets of other lengths or depths."""


@dataclass(frozen=True)
class MetricComparison:
    """One measure of one cell; ``values`` are per seed in the order of the grid's seeds, None where one is missing.

    Timings, taken apart from training, have no values by seed: their contrast is over processes, and of logarithms.
    """

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    compare: Callable[[], Contrast | None] = field(repr=False, compare=False)
    """Gives the ``contrast``; many measures are shown without one."""
    verdict: Verdict | None = None
    """Of the primary measure of a lens, where it was tested."""

    @cached_property
    def sd(self) -> float | None:
        """Over the seeds that have a value; None where fewer than two have."""
        present = [value for value in self.values if value is not None]
        return stdev(present) if len(present) > 1 else None

    @cached_property
    def contrast(self) -> Contrast | None:
        """The difference to the baseline; None for the baseline itself."""
        return self.compare()


@dataclass(frozen=True)
class DivergenceTest:
    """How many runs diverged of a cell and of the baseline, with Boschloo's exact test (Boschloo 1970)."""

    diverged: int
    runs: int
    baseline_diverged: int
    baseline_runs: int
    p: float
    p_holm: float
    """After Holm over the table's family."""
    alpha: float

    @property
    def differs(self) -> bool:
        return self.p_holm < self.alpha


@dataclass(frozen=True)
class CellComparison:
    """One cell of the grid: its settings, the results of its runs (in the order of its seeds), and its metrics."""

    label: str
    settings: Mapping[str, Any]
    levels: Mapping[str, str]
    seeds: tuple[int, ...]
    """The seeds that are planned for it: fewer than the grid's where it was decided early."""
    results: tuple[RunResult, ...]
    metrics: Mapping[str, MetricComparison]
    incomparable: Mapping[str, str] = field(default_factory=dict)
    """By measure, why it cannot be compared with the baseline's: it was measured on something else."""
    beside: tuple[str, ...] = ()
    """What differs from the baseline beside its levels, in words: what the grid overrides, or allows undeclared."""
    match: Mapping[str, Any] | None = None
    """How it was brought to the baseline's size, as in the manifest; None where it was not."""
    divergence: "DivergenceTest | None" = None
    """Whether its runs diverge more or less often than the baseline's; None where none of either did."""

    @cached_property
    def stability(self) -> Stability | None:
        """The class of the runs that have ended; None where none has."""
        return classify_stability([run.stability for run in self.results if run.ended])

    @property
    def diverged(self) -> bool:
        """Whether every run diverged, so that nothing was learned."""
        return bool(self.results) and self.count("diverged") == len(self.results)

    def count(self, status: RunStatus) -> int:
        """The number of runs with this status; every kind of failure counts as ``failed``."""
        alike = {"failed": FAILED, "missing": UNFINISHED}.get(status, (status,))
        return sum(run.status in alike for run in self.results)


@dataclass(frozen=True)
class CellRecord:
    """A cell of the manifest with the results of its runs."""

    cell: Mapping[str, Any]
    all_seeds: tuple[int, ...]
    known: Mapping[str, RunResult]
    bench: Mapping[str, Any]
    derived: Mapping[str, Sequence[float | None] | None] = field(default_factory=dict)
    """By measure, values of several cells together, seed by seed; None where some of these are not in the grid."""

    @property
    def measured_on(self) -> Mapping[str, Any]:
        """What its measures are about; empty for a grid that was run before that was recorded."""
        return self.cell.get("measured_on") or {}

    @cached_property
    def ids(self) -> dict[int, str]:
        return {run["seed"]: run["id"] for run in self.cell["runs"]}

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(seed for seed in self.all_seeds if seed in self.ids)

    @cached_property
    def results(self) -> tuple[RunResult, ...]:
        return tuple(run for seed in self.all_seeds if (run := self.at(seed)) is not None)

    def at(self, seed: int) -> RunResult | None:
        """The result of a seed; None where no run is planned."""
        run_id = self.ids.get(seed)
        return None if run_id is None else self.known.get(run_id) or RunResult(run_id, "missing")

    def timing(self, name: str) -> Mapping[str, Any]:
        """What bench.json says of a measure, empty where it was not timed."""
        return self.bench.get("measures", {}).get(name) or {}

    def exact(self, name: str) -> float | None:
        """A number that is counted, without training; None for any other measure."""
        if name == "peak_memory_bytes":
            return measured(self.bench.get(name))
        return measured((self.cell.get("work") or {}).get(name))


@dataclass(frozen=True)
class OtherFactor:
    """The other factor of an interaction, with its level."""

    path: str
    name: str
    level: str
    baseline: str


@dataclass(frozen=True)
class WithoutDiverged:
    """An effect without the seeds in which a run diverged, which change its sign or whether it excludes zero."""

    runs: tuple[str, ...]
    """The diverged runs: cell and seed."""
    contrast: Contrast


@dataclass(frozen=True)
class Effect:
    """Cells with a level minus cells with the baseline's level, ``cells`` of each.

    Of an interaction, how much that difference changes with another factor's level, ``given``: a difference of
    differences.
    """

    path: str
    name: str
    level: str
    baseline: str
    cells: int
    contrasts: Mapping[str, Contrast]
    given: OtherFactor | None = None
    verdict: Verdict | None = None
    """Of an interaction, which is neither better nor worse, only whether there is one."""
    without_diverged: WithoutDiverged | None = None
    norm: float = 1.0
    """The root of the sum of squares of the weights of cells in it."""

    @property
    def differs(self) -> bool:
        """Whether it is shown to differ from zero."""
        return self.verdict is not None and self.verdict.label in ("better", "worse")


@dataclass(frozen=True)
class Step:
    """One cell minus the one before it, measure by measure; without verdicts, since steps share their cells."""

    change: str
    """The levels in which the two differ."""
    cell: str
    before: str
    contrasts: Mapping[str, Contrast]


@dataclass(frozen=True)
class Control:
    """The outcome of runs whose outcome was known before."""

    label: str
    passed: bool | None
    """None where it is not known yet, as runs are missing."""
    contrast: Contrast | None = None
    """Against the baseline in the table's measure; of the same run again there is none."""
    differs: tuple[str, ...] = ()
    """The measures in which the same run differed."""


@dataclass(frozen=True)
class Comparison:
    """A grid compared; the first cell is the baseline."""

    grid: str
    metric: str
    better: Better | None
    """The better direction of ``metric``; None where it is not known."""
    seeds: tuple[int, ...]
    instead_of: str | None
    """The grid's own measure where ``metric`` takes its place, since that can be compared in all cells."""
    names: tuple[str, ...]
    """The names of all measures: the chosen one, the others of quality, those of stability, then of efficiency."""
    cells: tuple[CellComparison, ...]
    measures: Mapping[str, Measure]
    primary: Mapping[Lens, str | None]
    """The one measure of each lens on which verdicts rest; None where it was not measured."""
    factors: tuple[Mapping[str, Any], ...] = ()
    interim_looks: tuple[int, ...] = ()
    """Numbers of seeds at which interim looks are planned; empty: one look, at all seeds."""
    bench: Mapping[str, Any] = field(default_factory=dict)
    """How the timings were taken, empty without timings."""
    effects: tuple[Effect, ...] = ()
    interactions: tuple[Effect, ...] = ()
    effects_reason_missing: str | None = None
    """Why there are no main effects although several factors vary."""
    effects_model: str | None = None
    """What main effects rest on where they are no averages over all combinations of levels."""
    design: Mapping[str, Any] = field(default_factory=dict)
    """How the cells were chosen and which were excluded; empty for a grid that was run before designs were recorded."""
    variance: Literal["shared", "own"] = "shared"
    """Whether the cells' tests share their variances within a bound, or each has its own."""
    family: int = 0
    """How many tests the table states, over which its p are corrected."""
    data: tuple[Mapping[str, Any], ...] = ()
    """What is learned from, as in the manifest; empty for a grid that was run before it was recorded."""
    steps: tuple[Step, ...] = ()
    """Each cell against the one before it, where the design is a sequence of changes."""
    declared_metric: str | None = None
    """The grid's own metric, which ``metric`` may replace; None where that is not known."""
    question: str | None = None
    """What the study asks; None where its file does not say."""
    tuning: Mapping[str, Any] | None = None
    """What was tuned for each cell, as in the manifest; None: all cells have the same recipe."""
    controls: tuple[Control, ...] = ()
    """The outcomes of runs whose outcome was known before; empty for a grid without such runs."""
    changed: tuple[Mapping[str, Any], ...] = ()
    """What was declared otherwise before: each with ``what``, and ``after`` how many runs had ended."""
    seen: tuple[int, ...] = ()
    """Other numbers of seeds at which verdicts on these runs were shown before, without a planned look."""
    more_seeds: int | None = None
    """The largest number of seeds at which verdicts on these runs were shown before, where it is larger."""
    settings: tuple[str, ...] = ()
    """Values that were given to the command and not in the grid's file, ``path=value``; without those of tracking."""
    left_out: int = 0
    """How many changes a filter has left out of ``cells``, on whose tests the verdicts of the others rest as well."""

    @property
    def baseline(self) -> CellComparison:
        """The cell that all others are compared with."""
        return self.cells[0]

    @property
    def verdicts(self) -> list[Verdict]:
        """Those of all cells, on the primary measure of each lens."""
        names = [name for name in self.primary.values() if name is not None]
        return [verdict for cell in self.cells for name in names if (verdict := cell.metrics[name].verdict)]

    @property
    def other_quality(self) -> tuple[str, ...]:
        """The other measures of quality, each at the end of training."""
        return tuple(
            name
            for name in self.names
            if name != self.metric
            and self.measures[name].lens == "quality"
            and not name.endswith(VARIANTS)
            and name not in TIME_TO_BASELINE
        )

    @property
    def named_sets(self) -> tuple[str, ...]:
        """The validation and test sets with scores of their own, without those of other lengths or depths."""
        sets = (set_of(name) for name in (self.metric, *self.other_quality))
        return tuple(dict.fromkeys(name for name in sets if name and not _OF_SIZE.fullmatch(name)))

    @cached_property
    def recorded(self) -> Mapping[str, set[str]]:
        """What the runs were trained on and by: for each key of their records the values that occur."""
        found: dict[str, set[str]] = {}
        for cell in self.cells:
            for run in cell.results:
                for key, value in run.record.items():
                    if value is not None:
                        found.setdefault(key, set()).add(str(value))
        return found

    def measured(self, name: str) -> bool:
        """Whether any cell has a value of that metric."""
        return name in self.measures and any(cell.metrics[name].mean is not None for cell in self.cells)
