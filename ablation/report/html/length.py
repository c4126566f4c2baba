"""Length: what happens to a metric on texts longer than those trained on."""

import re
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import altair

from ..labels import metric_name
from .data import ReportData
from .figure import Figure, Spec, rows, series, spec, spread

_LONGER = re.compile(r"(?P<metric>[^@]+)@(?P<times>\d+(?:\.\d+)?)x")
_CAPTION = "1 is the length of training. Mean over seeds, with a line from the lowest to the highest seed."


def length(material: ReportData) -> Figure | None:
    """A view for each metric that was also measured on longer texts; None where none was."""
    by_metric: dict[str, dict[float, str]] = {}
    for name in material.comparison.names:
        if (found := _LONGER.fullmatch(name)) and material.comparison.measured(name):
            metric = found["metric"]
            known = {1.0: metric} if metric in material.comparison.names else {}
            by_metric.setdefault(metric, known)[float(found["times"])] = name
    views = {metric_name(metric): _chart(material, metric, names) for metric, names in by_metric.items()}
    return Figure("length", "Longer texts than in training", _CAPTION, views) if views else None


def _chart(material: ReportData, metric: str, names: Mapping[float, str]) -> Spec:
    found: list[dict[str, Any]] = []
    for cell in material.comparison.cells:
        for times, name in sorted(names.items()):
            values = [value for value in cell.metrics[name].values if value is not None]
            if values:
                place = {"cell": material.names[cell.label], "times": times}
                found.append({**place, "mean": fmean(values), "low": min(values), "high": max(values)})
    color, dash, chosen = series([row["cell"] for row in found])
    x = altair.X(
        "times:Q",
        title="length, in multiples of that of training",
        scale=altair.Scale(type="log", base=2, nice=False),
        axis=altair.Axis(values=sorted(names), format="~g", labelExpr="datum.label + '\N{MULTIPLICATION SIGN}'"),
    )
    y = altair.Y("mean:Q", title=metric_name(metric), scale=altair.Scale(zero=False))
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    base = altair.Chart(rows(found)).encode(x=x, color=color, opacity=shown)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("times:Q", title="length", format="~g"),
        *spread(),
    ]
    chart = altair.layer(
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=2).encode(y=altair.Y("low:Q", title=metric_name(metric)), y2="high:Q"),
        base.mark_circle(size=50).encode(y=y, tooltip=tooltip),
    )
    return spec(chart.add_params(chosen))
