"""Learning curves: the measurements of a cell's runs during training, averaged over seeds.

Runs of one cell are evaluated at the same tokens but not at the same seconds, so every run is interpolated linearly and
the lines are averaged. A run that has not ended yet, or that diverged, stops early: the points after that have fewer
runs than the cell has seeds, which each point states.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

from ..store.results import measured
from ..store.rows import Row

Axis = Literal["tokens", "seconds"]
Line = Sequence[tuple[float, float]]
"""(x, value) with strictly increasing x."""


@dataclass(frozen=True)
class Point:
    """The mean over the runs that reached ``x``, with the lowest and the highest of them."""

    x: float
    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Curve:
    """One metric of one cell; ``seeds`` are planned, ``stopped`` are those whose runs do not reach its end."""

    label: str
    seeds: int
    points: tuple[Point, ...]
    stopped: tuple[int, ...] = ()


def curve(label: str, runs: Mapping[int, Sequence[Row]], metric: str, axis: Axis, max_points: int = 200) -> Curve:
    """The mean of ``metric``, such as ``validation/loss``, over the runs of a cell, given as rows by seed."""
    lines = {seed: line for seed, rows in runs.items() if (line := line_of(rows, metric, axis))}
    grid = _grid(list(lines.values()), axis, max_points)
    points = tuple(point for x in grid if (point := _point(x, lines.values())))
    last = points[-1].x if points else 0.0
    stopped = tuple(seed for seed in runs if seed not in lines or lines[seed][-1][0] < last)
    return Curve(label, len(runs), points, stopped)


def line_of(rows: Sequence[Row], metric: str, axis: Axis) -> list[tuple[float, float]]:
    """(x, value) of the metric in the rows of one run."""
    line: list[tuple[float, float]] = []
    for row in rows:
        x, value = measured(row.get(axis)), measured(row.get(metric))
        if x is not None and value is not None and (not line or x > line[-1][0]):
            line.append((x, value))
    return line


def _grid(lines: Sequence[Line], axis: Axis, max_points: int) -> list[float]:
    """Where to average: at the tokens of the evaluations; at evenly spaced seconds, until the first full run ends."""
    if not lines:
        return []
    if axis == "tokens":
        tokens = sorted({x for line in lines for x, _ in line})
        n_points = min(max_points, len(tokens))
        return [tokens[round(index * (len(tokens) - 1) / max(1, n_points - 1))] for index in range(n_points)]
    longest = max(len(line) for line in lines)
    full = [line for line in lines if len(line) == longest]
    # A fast run ends at fewer seconds than a slow one; after that the mean would jump.
    start, end = max(line[0][0] for line in full), min(line[-1][0] for line in full)
    if longest == 1 or end <= start:
        return [end]
    n_points = min(max_points, longest)
    return [start + (end - start) * index / (n_points - 1) for index in range(n_points - 1)] + [end]


def _point(x: float, lines: Any) -> Point | None:
    values = [value for line in lines if (value := read_at(line, x)) is not None]
    return Point(x, fmean(values), min(values), max(values), len(values)) if values else None


def read_at(line: Line, x: float) -> float | None:
    """The value of the line at ``x``, interpolated; None outside it."""
    index = bisect_left(line, x, key=lambda point: point[0])
    if index < len(line) and line[index][0] == x:
        return line[index][1]
    if index in (0, len(line)):
        return None
    (before, low), (after, high) = line[index - 1], line[index]
    return low + (high - low) * (x - before) / (after - before)


def pieces(curve: Curve) -> list[tuple[bool, tuple[Point, ...]]]:
    """The curve in segments, each with whether it averages all seeds; a segment starts where the one before ends."""
    complete = [point.runs == curve.seeds for point in curve.points]
    cuts = [index for index, (one, next_) in enumerate(pairwise(complete)) if one != next_]
    bounds = pairwise([0, *(index + 1 for index in cuts), len(curve.points)])
    return [(complete[start], curve.points[max(0, start - 1) : end]) for start, end in bounds if end > start]
