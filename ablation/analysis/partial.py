"""Partial results: what cells whose runs are under way have come to after equally many tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .curves import read_value
from .rows import Row

PARTIAL = "partial: at equal tokens, before the end; no verdict follows from it"


@dataclass(frozen=True)
class Standing:
    """One cell: the mean over the seeds that have come so far, and the same seeds' mean difference to the baseline."""

    label: str
    loss: float | None
    difference: float | None
    pairs: int
    """Seeds in which both the cell and the baseline have come so far."""


@dataclass(frozen=True)
class Partial:
    """All cells after ``tokens``, the most that every cell has a run for; None before any has been validated."""

    tokens: float | None
    cells: tuple[Standing, ...]


def partial(manifest: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> Partial:
    """Compare cells where they can be: ``rows`` are those of the runs' metrics.jsonl, by run id.

    Between two evaluations the loss is taken to fall along a straight line. Cells of which no run was validated yet do
    not hold the others up.
    """
    reached = {}
    for cell in manifest["cells"]:
        ends = [end for run in cell["runs"] if (end := _end(rows.get(run["id"], ()))) is not None]
        if ends:
            reached[cell["label"]] = max(ends)
    tokens = min(reached.values(), default=None)
    baseline: dict[int, float] = {}
    standings: list[Standing] = []
    for cell in manifest["cells"]:
        losses = {} if tokens is None else _losses(cell, rows, tokens)
        baseline = baseline if standings else losses
        differences = [loss - baseline[seed] for seed, loss in losses.items() if seed in baseline]
        mean = fmean(losses.values()) if losses else None
        difference = fmean(differences) if differences and standings else None
        standings.append(Standing(cell["label"], mean, difference, len(differences)))
    return Partial(tokens, tuple(standings))


def _losses(cell: Mapping[str, Any], rows: Mapping[str, Sequence[Row]], tokens: float) -> dict[int, float]:
    found = {}
    for run in cell["runs"]:
        value = read_value(rows.get(run["id"], ()), "validation/loss", "tokens", tokens)
        if value is not None:
            found[run["seed"]] = value
    return found


def _end(rows: Sequence[Row]) -> float | None:
    """The tokens at the last evaluation."""
    return max((row["tokens"] for row in rows if row.get("validation/loss") is not None), default=None)
