"""Partial results: what cells whose runs are under way have come to after equally many tokens."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..store.results import Row
from .curves import Line, line_of, read_at

PARTIAL = "partial: at equal tokens, before the end; no verdict follows from it"
METRIC = "validation/loss"


@dataclass(frozen=True)
class CellProgress:
    """One cell: the mean over the seeds that have come so far, and the same seeds' mean difference to the baseline."""

    label: str
    loss: float | None
    difference: float | None
    pairs: int
    """Seeds in which both the cell and the baseline have come so far."""
    done: int
    """Seeds whose runs are over."""
    planned: int


@dataclass(frozen=True)
class GridProgress:
    """All cells after ``tokens``, the most that every cell has a run for; None before any has been validated."""

    tokens: float | None
    cells: tuple[CellProgress, ...]


def loss_line(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """(tokens, loss) of every evaluation among the rows of a run; those that came later can be put behind it."""
    return line_of(rows, METRIC, "tokens")


def compare_progress(manifest: Mapping[str, Any], lines: Mapping[str, Line], done: Collection[str]) -> GridProgress:
    """Compare cells where they can be: ``lines`` are those of the runs' losses, ``done`` the runs that are over, by id.

    Between two evaluations the loss is taken to fall along a straight line. Cells of which no run was validated yet do
    not hold the others up.
    """
    reached = {}
    for cell in manifest["cells"]:
        ends = [line[-1][0] for run in cell["runs"] if (line := lines.get(run["id"]))]
        if ends:
            reached[cell["label"]] = max(ends)
    tokens = min(reached.values(), default=None)
    baseline: dict[int, float] = {}
    standings: list[CellProgress] = []
    for cell in manifest["cells"]:
        losses = {} if tokens is None else _losses(cell, lines, tokens)
        baseline = baseline if standings else losses
        differences = [loss - baseline[seed] for seed, loss in losses.items() if seed in baseline]
        mean = fmean(losses.values()) if losses else None
        difference = fmean(differences) if differences and standings else None
        n_done = sum(run["id"] in done for run in cell["runs"])
        standings.append(CellProgress(cell["label"], mean, difference, len(differences), n_done, len(cell["runs"])))
    return GridProgress(tokens, tuple(standings))


def _losses(cell: Mapping[str, Any], lines: Mapping[str, Line], tokens: float) -> dict[int, float]:
    found = {}
    for run in cell["runs"]:
        value = read_at(lines.get(run["id"], ()), tokens)
        if value is not None:
            found[run["seed"]] = value
    return found
