"""Learning curves: what the runs of a cell have measured on their way, averaged over seeds.

Runs of one cell meet at the same tokens but not at the same seconds, so every run is read as a line between its points
and the lines are averaged where they are. A run that has not ended yet, or that diverged, stops early: from there on a
point has fewer runs than the cell has seeds, and says so.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

from ..store.results import Row, measured

Axis = Literal["tokens", "seconds"]
Line = Sequence[tuple[float, float]]
"""(x, value) with x strictly rising."""


@dataclass(frozen=True)
class Point:
    """The mean over the runs that got to ``x``, with the lowest and the highest of them."""

    x: float
    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Curve:
    """One metric of one cell; ``seeds`` are planned, ``stopped`` lists those whose runs do not reach its end."""

    label: str
    seeds: int
    points: tuple[Point, ...]
    stopped: tuple[int, ...] = ()


def curve(label: str, runs: Mapping[int, Sequence[Row]], metric: str, axis: Axis, most: int = 200) -> Curve:
    """Average ``metric`` (``"validation/loss"``) over the runs of a cell, given as rows by seed; at most that many points."""  # noqa: E501
    lines = {seed: line for seed, rows in runs.items() if (line := line_of(rows, metric, axis))}
    places = _places(list(lines.values()), axis, most)
    points = tuple(point for x in places if (point := _point(x, lines.values())))
    last = points[-1].x if points else 0.0
    stopped = tuple(seed for seed in runs if seed not in lines or lines[seed][-1][0] < last)
    return Curve(label, len(runs), points, stopped)


def line_of(rows: Sequence[Row], metric: str, axis: Axis) -> list[tuple[float, float]]:
    """The metric of one run, as far as its rows have it."""
    line: list[tuple[float, float]] = []
    for row in rows:
        x, value = measured(row.get(axis)), measured(row.get(metric))
        if x is not None and value is not None and (not line or x > line[-1][0]):
            line.append((x, value))
    return line


def _places(lines: Sequence[Line], axis: Axis, most: int) -> list[float]:
    """Where to average: at the tokens that were looked at; on seconds evenly, until the first of the longest ends."""
    if not lines:
        return []
    if axis == "tokens":
        tokens = sorted({x for line in lines for x, _ in line})
        kept = min(most, len(tokens))
        return [tokens[round(index * (len(tokens) - 1) / max(1, kept - 1))] for index in range(kept)]
    longest = max(len(line) for line in lines)
    whole = [line for line in lines if len(line) == longest]
    # A fast run ends at fewer seconds than a slow one; past that the mean would jump for no reason.
    start, end = max(line[0][0] for line in whole), min(line[-1][0] for line in whole)
    if longest == 1 or end <= start:
        return [end]
    kept = min(most, longest)
    return [start + (end - start) * index / (kept - 1) for index in range(kept - 1)] + [end]


def _point(x: float, lines: Any) -> Point | None:
    values = [value for line in lines if (value := read_at(line, x)) is not None]
    return Point(x, fmean(values), min(values), max(values), len(values)) if values else None


def read_at(line: Line, x: float) -> float | None:
    """The height of the line at ``x``, None outside it."""
    index = bisect_left(line, x, key=lambda point: point[0])
    if index < len(line) and line[index][0] == x:
        return line[index][1]
    if index in (0, len(line)):
        return None
    (before, low), (after, high) = line[index - 1], line[index]
    return low + (high - low) * (x - before) / (after - before)


def pieces(curve: Curve) -> list[tuple[bool, tuple[Point, ...]]]:
    """The curve in stretches, each with whether all seeds are in it; a stretch starts where the one before ends."""
    whole = [point.runs == curve.seeds for point in curve.points]
    cuts = [index for index, (one, next_) in enumerate(pairwise(whole)) if one != next_]
    bounds = pairwise([0, *(index + 1 for index in cuts), len(curve.points)])
    return [(whole[start], curve.points[max(0, start - 1) : end]) for start, end in bounds if end > start]
