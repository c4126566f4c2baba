"""Forecast: how long the runs of a plan will take, and what its seeds can show, from what was trained so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from ..store.results import RunResult

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Cell, Plan

PROBE_ROUNDS = 3
"""In which `ablate plan --probe` times a training step of every cell, in one process."""


@dataclass(frozen=True)
class Time:
    """What the runs that are missing will take."""

    seconds: Mapping[str, float]
    """Of one run, by the label of the cell."""
    source: str
    """Where that is known from, in words."""
    missing: Mapping[str, int]
    """How many runs of a cell are missing."""
    workers: int
    first: float = 0.0
    """Seconds of all runs that are missing of what comes before: of tuning and controls."""

    @property
    def total(self) -> float:
        """On that many workers at once."""
        own = sum(self.seconds[label] * count for label, count in self.missing.items())
        return (own + self.first) / self.workers

    @property
    def most(self) -> tuple[str, float, float] | None:
        """The cell that takes the largest part of it, that part, and its time relative to the baseline's."""
        spent = {label: self.seconds[label] * count for label, count in self.missing.items()}
        if not sum(spent.values()) or len(spent) < 2:
            return None
        label = max(spent, key=lambda each: spent[each])
        return label, spent[label] / sum(spent.values()), self.seconds[label] / self.seconds[next(iter(self.seconds))]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "seconds_per_run": dict(self.seconds),
            "source": self.source,
            "workers": self.workers,
            "seconds": self.total,
            "seconds_before": self.first / self.workers,
            "most": self.most,
        }


def expected_time(
    plan: "Plan",
    results: Mapping[str, RunResult],
    flops: Mapping[str, float],
    workers: int,
    step_seconds: Mapping[str, float] | None = None,
) -> Time | None:
    """From ``step_seconds`` where cells were probed, else from the cells' runs; None where nothing is known.

    A cell without a run is expected to need as much time for an operation as the median of the others. ``results`` are
    of its runs, of those that tune it and of controls; ``flops`` those of all training, by the label of the cell.
    """
    missing = {
        cell.label: sum(not results[run.id].ended for run in cell.runs) for cell in plan.cells
    }  # what failed would be tried again
    if step_seconds is not None:
        seconds = {
            cell.label: step_seconds[cell.label] * cell.runs[0].config.training.max_steps
            for cell in plan.cells
            if cell.label in step_seconds
        }
        source = "steps that were probed, without evaluations"
    else:
        seconds = {cell.label: known for cell in plan.cells if (known := _seconds(plan, cell, results)) is not None}
        source = "the runs so far"
    if not seconds:
        return None
    if len(seconds) < len(plan.cells):
        per_flop = median(time / flops[label] for label, time in seconds.items())
        source += f" of {len(seconds)} of {len(plan.cells)} cells, others by their FLOPs"
    of_cell = {cell.label: seconds.get(cell.label) or per_flop * flops[cell.label] for cell in plan.cells}
    return Time(of_cell, source, missing, workers, _first(plan, of_cell, results))


def _first(plan: "Plan", seconds: Mapping[str, float], results: Mapping[str, RunResult]) -> float:
    """The seconds of what is missing of tuning and controls."""
    total = 0.0
    if plan.tuning is not None and not plan.tuning.ended:
        for cell in plan.cells:
            ended = (run.config.training.max_steps for run in plan.tuning.runs[cell.label] if results[run.id].ended)
            done = sum(ended) / cell.runs[0].config.training.max_steps
            total += max(0.0, plan.tuning.n_trainings - done) * seconds[cell.label]
    if plan.controls is not None:
        of_baseline = seconds[plan.cells[0].label]
        total += of_baseline * sum(not results[run.id].ended for run in plan.controls.runs)
    return total


def probe(plan: "Plan") -> dict[str, float]:
    """The seconds of a training step of every cell that can be timed, timed interleaved in a process of their own.

    Errors: ``ProcessError`` where that process ends.
    """
    from ..bench.processes import measure_plan

    (measured,) = measure_plan(plan, ("training_step",), (), PROBE_ROUNDS, 1, 0)
    cells = {label: cell["measures"].get("training_step") for label, cell in measured["cells"].items()}
    return {label: found["value"] for label, found in cells.items() if found}


@dataclass(frozen=True)
class Power:
    """What as many seeds as are planned can show, at the noise of the runs so far."""

    seeds: int
    pairs: int
    """The differences that the noise is known from, in the cell that has most."""
    detectable: float
    """The smallest difference that is detected with a probability of 80 %, in the unit of the metric."""
    conclusive: float | None
    """The probability that a change without effect is found equivalent; None without a margin."""


def expected_power(comparison: "Comparison", n_seeds: int) -> Power | None:
    """None where no cell has two seeds, or its differences do not vary."""
    from ..compare.power import typical_spread
    from ..stats.power import minimum_detectable_effect, probability_conclusive
    from ..stats.sequential import ALPHA

    differences: list[Sequence[float]] = [
        contrast.differences
        for cell in comparison.cells[1:]
        if (contrast := cell.metrics[comparison.metric].contrast) is not None
    ]
    spread = typical_spread(differences)
    if spread is None or n_seeds < 2:
        return None
    family, margin = comparison.family or len(comparison.cells) - 1, comparison.measures[comparison.metric].margin
    return Power(
        n_seeds,
        max(map(len, differences)),
        minimum_detectable_effect(spread, n_seeds, ALPHA, family),
        None if margin is None else probability_conclusive(spread, n_seeds, margin, ALPHA, family),
    )


def _seconds(plan: "Plan", cell: "Cell", results: Mapping[str, RunResult]) -> float | None:
    """Of one run of a cell, from its own runs, or else from those that tune it."""
    for runs in (cell.runs, () if plan.tuning is None else plan.tuning.runs[cell.label]):
        of_step = [seconds / run.config.training.max_steps for run in runs
                   if (seconds := results[run.id].training_seconds) is not None]  # fmt: skip
        if of_step:
            return fmean(of_step) * cell.runs[0].config.training.max_steps
    return None
