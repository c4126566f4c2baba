"""Quality against cost, with the cells that no other beats in both."""

from collections.abc import Sequence
from typing import Any

import altair

from ...compare.measures import TOKENS_PER_SECOND, TRAINING_STEP, Measure
from ..labels import axis_title, metric_name
from ..table import measures_of
from .data import ReportData
from .figure import (
    PLAIN,
    Figure,
    Spec,
    label_width,
    large_axis,
    pointed_at,
    rows,
    shortened,
    spec,
    spread_tooltip,
    zoom,
)
from .series import styles_of_cells

_UNITS = {
    TRAINING_STEP: "training step, milliseconds",
    "prefill": "prefill, milliseconds",
    "decode": "tokens generated per second",
    "peak_memory_bytes": "peak memory in bytes",
    "cache_bytes": "cache of one sequence in bytes",
    "cache_bytes_per_token": "cache in bytes per token",
    "flops_per_token": "FLOPs per token",
}
_PLOT, _HEIGHT, _LINE = 480, 320, 13
"""Pixels of a figure as narrow as most are, and of a line of text: what is assumed where labels look for room."""
_IN_MILLISECONDS = (TRAINING_STEP, "prefill")
_CAPTION = (
    "Mean over seeds, with a line from the lowest to the highest seed. The line joins the cells that no other cell "
    "beats in both quality and cost (the Pareto front). Cells have their names where there is room."
)


def tradeoff(data: ReportData) -> Figure | None:
    """A view for each cost; None where no run has ended. The speed of runs that trained side by side is no evidence."""
    views = {}
    for name in measures_of(data.comparison, "efficiency"):
        if name != TOKENS_PER_SECOND and (view := _chart(data, data.comparison.measures[name])):
            views[_UNITS.get(name, metric_name(name))] = view
    return Figure("tradeoff", "Quality against cost", f"{_CAPTION} {data.cut}".rstrip(), views) if views else None


def _chart(data: ReportData, cost: Measure) -> Spec | None:
    comparison = data.comparison
    points: list[dict[str, Any]] = []
    for cell in comparison.cells:
        price, metric = cell.metrics[cost.name].mean, cell.metrics[comparison.metric]
        values = [value for value in metric.values if value is not None]
        if price is not None and metric.mean is not None and values:
            price *= 1e3 if cost.name in _IN_MILLISECONDS else 1
            spread = {"mean": metric.mean, "low": min(values), "high": max(values)}
            points.append({"cell": data.names[cell.label], "cost": price, **spread})
    if not points:
        return None
    edge = [] if comparison.better is None else front(points, cost.better != "higher", comparison.better == "lower")
    shown_cells = {data.names[cell.label] for cell in data.shown.cells}
    points = [point for point in points if point["cell"] in shown_cells]
    if not points:
        return None
    title = axis_title(comparison.metric)
    styles = styles_of_cells(data)
    names = [point["cell"] for point in points]
    color = altair.Color(
        "cell:N", scale=altair.Scale(domain=names, range=[styles.of[name].color for name in names]), legend=None
    )
    axis, cost_title = large_axis((point["cost"] for point in points), _UNITS.get(cost.name, metric_name(cost.name)))
    x = altair.X("cost:Q", title=cost_title, scale=altair.Scale(zero=False, padding=16), axis=axis)
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(zero=False, padding=8), axis=altair.Axis(tickCount=6))
    shown = altair.condition(pointed_at(), altair.value(1.0), altair.value(0.15))
    layers: list[Any] = []
    if edge:
        line = altair.Chart(rows(edge)).mark_line(strokeWidth=1.5, strokeDash=[4, 3], opacity=0.6, clip=True)
        layers.append(line.encode(x=x, y=y))
    base = altair.Chart(rows(points)).encode(x=x, color=color, opacity=shown)
    circles = base.mark_circle(size=90, clip=True).encode(
        y=y,
        tooltip=[
            altair.Tooltip("cell:N", title="cell"),
            altair.Tooltip("cost:Q", title="cost", format=PLAIN),
            *spread_tooltip(),
        ],
    )
    layers += [
        base.mark_rule(strokeWidth=2, clip=True).encode(y=altair.Y("low:Q", title=title), y2="high:Q"),
        circles.add_params(zoom("x", "y"), pointed_at()),
    ]
    first = {(point["cost"], point["mean"]) for point in edge}
    by_rank = sorted(points, key=lambda point: (
        point["cell"] != points[0]["cell"], (point["cost"], point["mean"]) not in first,
        not styles.of[point["cell"]].named))  # fmt: skip
    named = _with_room([{**point, "label": styles.of[point["cell"]].label} for point in by_rank], points)
    text = shortened("datum.label", "label_width")
    of_left, of_right = ([point for point in named if point["side"] == side] for side in ("left", "right"))
    common: dict[str, Any] = {"fontSize": 11, "text": altair.ExprRef(text)}
    if of_left:
        left = altair.Chart(rows(of_left)).mark_text(align="right", dx=-8, **common)
        layers.append(left.encode(x=x, y=y, opacity=shown))
    if of_right:
        right = altair.Chart(rows(of_right)).mark_text(align="left", dx=8, **common)
        layers.append(right.encode(x=x, y=y, opacity=shown))
    return spec(altair.layer(*layers), height=_HEIGHT, labels=label_width(point["label"] for point in named))


def _with_room(labeled: Sequence[dict[str, Any]], points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of points by rank the first, and those whose labels cover neither a point nor a label of a higher rank.

    ``side`` is where of its point a label is.
    """
    (x, width), (y, height) = (
        (min(values), (max(values) - min(values)) or 1.0)
        for values in ([point["cost"] for point in points], [point["mean"] for point in points])
    )

    def place(point: dict[str, Any]) -> tuple[float, float]:
        return _PLOT * (point["cost"] - x) / width, _HEIGHT * (point["mean"] - y) / height

    taken = [(across - 6, across + 6, up) for across, up in map(place, points)]
    kept: list[dict[str, Any]] = []
    for point in labeled:
        across, up = place(point)
        length = label_width([point["label"]])
        boxes = {"right": (across + 7, across + 12 + length), "left": (across - 12 - length, across - 7)}
        free = [
            side
            for side, (left, right) in boxes.items()
            if left > -_LINE
            and right < _PLOT + _LINE
            and not any(left < end and start < right and abs(up - at) < _LINE for start, end, at in taken)
        ]
        if free or not kept:
            side = (free or ["left" if across > _PLOT / 2 else "right"])[0]
            kept.append({**point, "side": side})
            taken.append((*boxes[side], up))
    return kept


def front(points: Sequence[dict[str, Any]], cheap_is_low: bool, good_is_low: bool) -> list[dict[str, Any]]:
    """The points that no other beats in both ``cost`` and ``mean``, the cheapest first."""
    cost_sign, mean_sign = (1 if cheap_is_low else -1), (1 if good_is_low else -1)
    best: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda point: (cost_sign * point["cost"], mean_sign * point["mean"])):
        if not best or mean_sign * point["mean"] < mean_sign * best[-1]["mean"]:
            best.append({"cost": point["cost"], "mean": point["mean"]})
    return best
