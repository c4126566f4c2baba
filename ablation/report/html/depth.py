"""Stability by depth: how large activations and gradients are from the first block to the last."""

from statistics import fmean
from typing import Any

import altair

from .data import ReportData
from .figure import Figure, Spec, rows, series, spec, spread

_LOOKS = {
    "activation_by_depth": ("activations", "size of the activations (RMS), at the end"),
    "gradient_by_depth": ("gradients", "norm of the gradients, first step"),
}
_CAPTION = "Mean over seeds. Where a line climbs or falls by orders of magnitude, deep models get into trouble."


def depth(material: ReportData) -> Figure | None:
    """A view for what was observed of each block; None where nothing was."""
    views = {view: drawn for name, (view, title) in _LOOKS.items() if (drawn := _chart(material, name, title))}
    return Figure("depth", "Stability by depth", _CAPTION, views) if views else None


def _chart(material: ReportData, name: str, title: str) -> Spec | None:
    found: list[dict[str, Any]] = []
    for cell in material.comparison.cells:
        for block, column in enumerate(zip(*material.stability(cell, name), strict=False), 1):
            values = [value for value in column if isinstance(value, int | float) and value > 0]
            if values:
                place = {"cell": material.names[cell.label], "block": block}
                found.append({**place, "mean": fmean(values), "low": min(values), "high": max(values)})
    if not found:
        return None
    color, dash, chosen = series([row["cell"] for row in found])
    blocks = max(row["block"] for row in found)
    x = altair.X(
        "block:Q",
        title="block",
        scale=altair.Scale(domain=[1, max(blocks, 2)], nice=False),
        axis=altair.Axis(values=list(range(1, blocks + 1)), format="d", labelOverlap="greedy"),
    )
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(type="log"), axis=altair.Axis(tickCount=5))
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    base = altair.Chart(rows(found)).encode(x=x, y=y, color=color, opacity=shown)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("block:Q", title="block"),
        *spread(),
    ]
    chart = altair.layer(
        base.mark_line(strokeWidth=2).encode(strokeDash=dash), base.mark_circle(size=50).encode(tooltip=tooltip)
    )
    return spec(chart.add_params(chosen))
