"""Partial results: the losses of cells whose runs are in progress, after equally many tokens."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..store.results import Evaluation
from ..store.rows import Row
from .curves import Line, line_of, read_at

PARTIAL = "partial: at equal tokens, before the end; no verdict follows from it"
METRIC = "validation/loss"


@dataclass(frozen=True)
class CellProgress:
    """One cell: the mean over the seeds that have reached ``tokens``, and their mean difference to the baseline."""

    label: str
    loss: float | None
    difference: float | None
    pairs: int
    """Seeds in which both the cell and the baseline have reached it."""
    done: int
    """Seeds whose runs have ended."""
    planned: int


@dataclass(frozen=True)
class GridProgress:
    """All cells after ``tokens``, the most that every cell has reached in a run; None before the first validation."""

    tokens: float | None
    cells: tuple[CellProgress, ...]


def loss_line(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """(tokens, loss) of every evaluation in the rows of a run; later ones can be appended."""
    return line_of(rows, METRIC, "tokens")


def evaluated(evaluations: Iterable[Evaluation]) -> list[tuple[float, float]]:
    """The same of a run that has ended."""
    line: list[tuple[float, float]] = []
    for each in evaluations:
        if not line or each.tokens > line[-1][0]:
            line.append((float(each.tokens), each.loss))
    return line


def compare_progress(manifest: Mapping[str, Any], lines: Mapping[str, Line], done: Collection[str]) -> GridProgress:
    """Compare cells at equal tokens; by run id, ``lines`` are the losses of the runs, ``done`` those that have ended.

    Between two evaluations the loss is interpolated linearly. Cells without any validation do not limit the tokens.
    """
    reached = {}
    for cell in manifest["cells"]:
        ends = [line[-1][0] for run in cell["runs"] if (line := lines.get(run["id"]))]
        if ends:
            reached[cell["label"]] = max(ends)
    tokens = min(reached.values(), default=None)
    baseline: dict[int, float] = {}
    cells: list[CellProgress] = []
    for cell in manifest["cells"]:
        losses = {} if tokens is None else _losses(cell, lines, tokens)
        baseline = baseline if cells else losses
        differences = [loss - baseline[seed] for seed, loss in losses.items() if seed in baseline]
        mean = fmean(losses.values()) if losses else None
        difference = fmean(differences) if differences and cells else None
        n_done = sum(run["id"] in done for run in cell["runs"])
        cells.append(CellProgress(cell["label"], mean, difference, len(differences), n_done, len(cell["runs"])))
    return GridProgress(tokens, tuple(cells))


def _losses(cell: Mapping[str, Any], lines: Mapping[str, Line], tokens: float) -> dict[int, float]:
    """The loss at ``tokens`` by seed."""
    losses = {}
    for run in cell["runs"]:
        value = read_at(lines.get(run["id"], ()), tokens)
        if value is not None:
            losses[run["seed"]] = value
    return losses
