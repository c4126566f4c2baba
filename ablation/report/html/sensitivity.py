"""Learning-rate sensitivity: how wide the range of learning rates is that a cell trains well with."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import altair

from ...compare.records import CellComparison, Comparison
from ..labels import metric_name, plain
from .data import ReportData
from .figure import Figure, rows, series, spec

_FEWEST = 4
"""Learning rates; with fewer there is no shape to see (Wortsman et al. 2023, arXiv:2309.14322)."""
_CAPTION = (
    "Mean over seeds, with a line from the lowest to the highest seed. A flat curve forgives a wrong learning rate. "
    "A cross: at least one run diverged there, and counts as a model that has learned nothing."
)


def sensitivity(material: ReportData) -> Figure | None:
    """A line for each combination of the other factors; None where no learning rate has at least four levels."""
    comparison = material.comparison
    factor = next((f for f in comparison.factors if f["path"].endswith(".lr") and len(f["levels"]) >= _FEWEST), None)
    if factor is None:
        return None
    path, found = factor["path"], list[dict[str, Any]]()
    swept = Counter(_others(comparison, cell, factor) for cell in comparison.cells)
    for cell in comparison.cells:
        if swept[_others(comparison, cell, factor)] < _FEWEST:
            continue  # the design did not cross it with the rates
        rate, metric = cell.settings[path], cell.metrics[comparison.metric]
        values = [value for value in metric.values if value is not None]
        if values and isinstance(rate, int | float) and rate > 0 and metric.mean is not None:
            place = {"cell": plain(_others(comparison, cell, factor)) or "all cells", "rate": float(rate)}
            ends = {"mean": metric.mean, "low": min(values), "high": max(values)}
            found.append({**place, **ends, "diverged": cell.count("diverged")})
    if not found:
        return None
    title = metric_name(comparison.metric)
    color, dash, chosen = series([row["cell"] for row in found])
    x = altair.X(
        "rate:Q",
        title="learning rate",
        scale=altair.Scale(type="log"),
        axis=altair.Axis(values=sorted({row["rate"] for row in found}), format="~g", labelOverlap="greedy"),
    )
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(zero=False))
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    base = altair.Chart(rows(found)).encode(x=x, color=color, opacity=shown)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("rate:Q", title="learning rate", format="~g"),
        altair.Tooltip("mean:Q", title="mean", format=".4g"),
        altair.Tooltip("diverged:Q", title="diverged runs"),
    ]
    layers = [
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=2).encode(y=altair.Y("low:Q", title=title), y2="high:Q"),
        base.mark_circle(size=50).encode(y=y, tooltip=tooltip),
    ]
    if diverged := [row for row in found if row["diverged"]]:
        crosses = altair.Chart(rows(diverged)).mark_point(shape="cross", angle=45, size=160, strokeWidth=2)
        layers.append(crosses.encode(x=x, y=y, color=color, opacity=shown, tooltip=tooltip))
    drawn = spec(altair.layer(*layers).add_params(chosen))
    return Figure("learning_rate", "Sensitivity to the learning rate", _CAPTION, {"": drawn})


def _others(comparison: Comparison, cell: CellComparison, rate: Mapping[str, Any]) -> str:
    """The cell's levels of the other factors, which name its line."""
    return " ".join(f"{f['name']}={cell.levels[f['path']]}" for f in comparison.factors if f is not rate)
