"""Figures with a line per cell: by length, by position, by depth, by learning rate, by the levels of another factor."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import altair

from ...compare.derived import MIN_RATES
from ...compare.records import CellComparison, Comparison
from ..labels import axis_title, metric_name, plain
from .data import MOST_SHOWN, ReportData
from .figure import PLAIN, Figure, Spec, rows, spread_tooltip
from .line_chart import Point, line_chart
from .series import styles_of_cells, styles_of_names

Factor = Mapping[str, Any]
_MOST_PAIRS = 10
_SPREAD = "Mean over seeds, with a line from the lowest to the highest seed."


def over_seeds(cell: str, x: Any, values: Sequence[float], **more: Any) -> Point:
    """A point of a line: the mean, the lowest and the highest of the values of single seeds."""
    return {"cell": cell, "x": x, "mean": fmean(values), "low": min(values), "high": max(values), **more}


def depth(data: ReportData) -> Figure | None:
    """Size of activations and gradients from the first block to the last; None where no run recorded them."""
    recorded = {
        "activations": ("activation_by_depth", "size of the activations (RMS), at the end"),
        "gradients": ("gradient_by_depth", "norm of the gradients, first step"),
    }
    views = {view: chart for view, (name, title) in recorded.items() if (chart := _depth(data, name, title))}
    caption = (
        "Mean over seeds. Where a line climbs or falls by orders of magnitude, deep models become hard to train. "
        f"{data.cut}"
    ).rstrip()
    return Figure("depth", "Stability by depth", caption, views) if views else None


def _depth(data: ReportData, name: str, title: str) -> Spec | None:
    points = []
    for cell in data.shown.cells:
        for block, of_seeds in enumerate(zip(*data.stability(cell, name), strict=False), 1):
            values = [value for value in of_seeds if isinstance(value, int | float) and value > 0]
            if values:
                points.append(over_seeds(data.names[cell.label], block, values))
    if not points:
        return None
    blocks = max(point["x"] for point in points)
    x = altair.X(
        "x:Q",
        title="block",
        scale=altair.Scale(domain=[1, max(blocks, 2)], nice=False),
        axis=altair.Axis(values=list(range(1, blocks + 1)), format="d", labelOverlap="greedy"),
    )
    tooltip = [altair.Tooltip("cell:N", title="cell"), altair.Tooltip("x:Q", title="block"), *spread_tooltip()]
    return line_chart(points, styles_of_cells(data), x, title, tooltip, logarithmic=True, spread="none")


def length(data: ReportData) -> Figure | None:
    """A view for each metric that was also evaluated on longer sequences; None where none was."""
    comparison = data.comparison
    by_metric: dict[str, dict[float, str]] = {}
    for name in comparison.names:
        match = re.fullmatch(r"(?P<metric>[^@]+)@(?P<times>\d+(?:\.\d+)?)x", name)
        if match and comparison.measured(name):
            metric = match["metric"]
            in_training = {1.0: metric} if metric in comparison.names else {}
            by_metric.setdefault(metric, in_training)[float(match["times"])] = name
    views = {metric_name(metric): _length(data, metric, names) for metric, names in by_metric.items()}
    caption = f"1 is the length of training. {_SPREAD} {data.cut}".rstrip()
    return Figure("length", "Longer sequences than in training", caption, views) if views else None


def _length(data: ReportData, metric: str, names: Mapping[float, str]) -> Spec:
    points = []
    for cell in data.shown.cells:
        for times, name in sorted(names.items()):
            if values := [value for value in cell.metrics[name].values if value is not None]:
                points.append(over_seeds(data.names[cell.label], times, values))
    x = altair.X(
        "x:Q",
        title="length, in multiples of that of training",
        scale=altair.Scale(type="log", base=2, nice=False),
        axis=altair.Axis(values=sorted(names), format=",.6~r", labelExpr="datum.label + '\N{MULTIPLICATION SIGN}'"),
    )
    length = altair.Tooltip("x:Q", title="length", format=",.6~r")
    return line_chart(
        points, styles_of_cells(data), x, axis_title(metric), [_cell_tooltip(), length, *spread_tooltip()]
    )


def position(data: ReportData) -> Figure | None:
    """Loss by position in the sequence, a view for each validation set; None where no run recorded it."""
    runs = [run for cell in data.shown.cells for run in cell.results]
    endings = dict.fromkeys(ending for run in runs for ending in run.by_position)
    trained = max((curve[-1][0] for cell in data.shown.cells for curve in data.by_position(cell, "")), default=None)
    views = {}
    for ending in endings:
        if chart := _position(data, ending, trained):
            views[ending.lstrip("@") or "as in training"] = chart
    caption = (
        "Mean over seeds and over the sequences of the last evaluation; what all lines have in common comes from the "
        "data. Where a line climbs away from the others beyond the dashed line, the length of training, the position "
        f"encoding does not extrapolate. {data.cut}"
    ).rstrip()
    return Figure("position", "Loss by position", caption, views) if views else None


def _position(data: ReportData, ending: str, trained: float | None) -> Spec | None:
    points = [
        over_seeds(data.names[cell.label], of_seeds[0][0], [loss for _, loss in of_seeds])
        for cell in data.shown.cells
        for of_seeds in zip(*data.by_position(cell, ending), strict=False)
    ]
    if not points:
        return None
    scale = altair.Scale(zero=False, nice=False)
    x = altair.X("x:Q", title="position in the sequence, tokens", scale=scale, axis=altair.Axis(tickCount=8))
    behind = []
    if trained is not None and points[-1]["x"] > trained:
        behind = [altair.Chart(rows([{"x": trained}])).mark_rule(strokeDash=[3, 3]).encode(x="x:Q")]
    tooltip = [_cell_tooltip(), altair.Tooltip("x:Q", title="position", format=".0f"), *spread_tooltip()]
    title = "loss in nats per token"
    return line_chart(points, styles_of_cells(data), x, title, tooltip, spread="none", dots=False, behind=behind)


def learning_rate(data: ReportData) -> Figure | None:
    """A line over the learning rates per combination of the other factors; None with fewer than four rates."""
    comparison = data.comparison
    swept = (f for f in comparison.factors if f["path"].endswith(".lr") and len(f["levels"]) >= MIN_RATES)
    factor = next(swept, None)
    if factor is None:
        return None
    n_rates = Counter(_others(comparison, cell, factor) for cell in comparison.cells)
    shown = list(dict.fromkeys(_others(comparison, cell, factor) for cell in data.shown.cells))[:MOST_SHOWN]
    points = []
    for cell in comparison.cells:
        others = _others(comparison, cell, factor)
        if others not in shown or n_rates[others] < MIN_RATES:
            continue  # the design did not cross these levels with the learning rates
        rate = cell.settings[factor["path"]]
        values = [value for value in cell.metrics[comparison.metric].values if value is not None]
        if values and isinstance(rate, int | float) and rate > 0:
            diverged = cell.count("diverged")
            points.append(over_seeds(plain(others) or "all cells", float(rate), values, diverged=diverged))
    if not points:
        return None
    x = altair.X(
        "x:Q",
        title="learning rate",
        scale=altair.Scale(type="log", nice=False),
        axis=altair.Axis(values=sorted({point["x"] for point in points}), format=",.6~r", labelOverlap="greedy"),
    )
    tooltip = [
        _cell_tooltip(),
        altair.Tooltip("x:Q", title="learning rate", format=",.6~r"),
        altair.Tooltip("mean:Q", title="mean", format=PLAIN),
        altair.Tooltip("diverged:Q", title="diverged runs"),
    ]
    crosses = [point for point in points if point["diverged"]]
    caption = (
        f"{_SPREAD} The flatter a curve, the less the learning rate matters. A cross: at least one run diverged, and "
        "counts as a model that has learned nothing."
    )
    if len(shown) < len(n_rates):
        caption += f" Of {len(n_rates):,} lines, the {len(shown)} with the cells of the other figures are shown."
    styles = styles_of_names([point["cell"] for point in points])
    chart = line_chart(points, styles, x, axis_title(comparison.metric), tooltip, crosses=crosses)
    title = "Sensitivity to the learning rate"
    return Figure("learning_rate", title, caption, {"": chart}, of_cells=False)


def _others(comparison: Comparison, cell: CellComparison, rate: Factor) -> str:
    """The cell's levels of the factors other than the learning rate, which name its line."""
    return " ".join(f"{f['name']}={cell.levels[f['path']]}" for f in comparison.factors if f is not rate)


def interaction(data: ReportData) -> Figure | None:
    """A view for each pair of factors of a full factorial; None for other designs, whose averages would mislead."""
    comparison = data.comparison
    varied = [factor for factor in comparison.factors if len(factor["levels"]) > 1]
    if len(varied) < 2 or comparison.effects_reason_missing is not None:
        return None
    views = {}
    for one, other in list(combinations(varied, 2))[:_MOST_PAIRS]:
        if chart := _interaction(comparison, one, other):
            views[plain(f"{one['name']} and {other['name']}")] = chart
    caption = (
        "Mean over seeds and over the levels of all other factors, with a line from the lowest to the highest seed. "
        "Parallel lines: the two factors do not interact."
    )
    return Figure("interaction", "Interactions", caption, views, of_cells=False) if views else None


def _interaction(comparison: Comparison, one: Factor, other: Factor) -> Spec | None:
    points = []
    for level in one["levels"]:
        for given in other["levels"]:
            cells = [c for c in comparison.cells if c.levels[one["path"]] == level and c.levels[other["path"]] == given]
            if values := _complete_seeds(cells, comparison.metric):
                points.append(over_seeds(plain(given), plain(level), values))
    if not points:
        return None
    levels = list(dict.fromkeys(plain(level) for level in one["levels"]))
    x = altair.X("x:N", title=plain(one["name"]), sort=levels, axis=altair.Axis(labelLimit=120))
    tooltip = [altair.Tooltip("x:N", title="level"), altair.Tooltip("cell:N", title="with"), *spread_tooltip()]
    styles = styles_of_names(list(map(plain, other["levels"])))
    return line_chart(points, styles, x, axis_title(comparison.metric), tooltip, continuous=False)


def _complete_seeds(cells: Sequence[CellComparison], metric: str) -> list[float]:
    """The mean over the cells for each seed that has a value in all of them."""
    by_seed = zip(*(cell.metrics[metric].values for cell in cells), strict=True)
    present = [[value for value in values if value is not None] for values in by_seed]
    return [fmean(values) for values in present if len(values) == len(cells)]


def _cell_tooltip() -> altair.Tooltip:
    return altair.Tooltip("cell:N", title="cell")
