"""Quality against cost, with the cells that no other beats in both."""

from collections.abc import Sequence
from typing import Any

import altair

from ...compare.measures import TOKENS_PER_SECOND, TRAINING_STEP, Measure
from ..labels import axis_title, metric_name
from ..table import measures_of
from .data import ReportData
from .figure import Figure, Spec, rows, series, spec

_UNITS = {
    TRAINING_STEP: "training step, milliseconds",
    "prefill": "prefill, milliseconds",
    "decode": "tokens generated per second",
    "peak_memory_bytes": "peak memory in bytes",
    "cache_bytes": "cache of one sequence in bytes",
    "cache_bytes_per_token": "cache in bytes per token",
    "flops_per_token": "FLOPs per token",
}
_IN_MILLISECONDS = (TRAINING_STEP, "prefill")
_CAPTION = (
    "Mean over seeds, with a line from the lowest to the highest seed. The line joins the cells that no other cell "
    "beats in both quality and cost (the Pareto front)."
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
    color, _, selected = series([point["cell"] for point in points])
    x = altair.X(
        "cost:Q",
        title=_UNITS.get(cost.name, metric_name(cost.name)),
        scale=altair.Scale(zero=False, padding=16),
        axis=altair.Axis(format="~s", tickCount=6),
    )
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(zero=False, padding=8))
    shown = altair.condition(selected, altair.value(1.0), altair.value(0.08))
    layers: list[Any] = []
    if edge:
        layers.append(
            altair.Chart(rows(edge)).mark_line(strokeWidth=1.5, strokeDash=[4, 3], opacity=0.6).encode(x=x, y=y)
        )
    base = altair.Chart(rows(points)).encode(x=x, color=color, opacity=shown)
    layers += [
        base.mark_rule(strokeWidth=2).encode(y=altair.Y("low:Q", title=title), y2="high:Q"),
        base.mark_circle(size=90).encode(
            y=y,
            tooltip=[
                altair.Tooltip("cell:N", title="cell"),
                altair.Tooltip("cost:Q", title="cost", format=",.5~g"),
                altair.Tooltip("mean:Q", title="mean", format=".4g"),
            ],
        ),
    ]
    return spec(altair.layer(*layers).add_params(selected), height=320)


def front(points: Sequence[dict[str, Any]], cheap_is_low: bool, good_is_low: bool) -> list[dict[str, Any]]:
    """The points that no other beats in both ``cost`` and ``mean``, the cheapest first."""
    cost_sign, mean_sign = (1 if cheap_is_low else -1), (1 if good_is_low else -1)
    best: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda point: (cost_sign * point["cost"], mean_sign * point["mean"])):
        if not best or mean_sign * point["mean"] < mean_sign * best[-1]["mean"]:
            best.append({"cost": point["cost"], "mean": point["mean"]})
    return best
