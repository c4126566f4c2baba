"""Interaction plots: whether what one factor does depends on the level of another; parallel lines say no."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import altair

from ...compare.records import CellComparison
from ..labels import metric_name, plain
from .data import ReportData
from .figure import Figure, Spec, rows, series, spec, spread

Factor = Mapping[str, Any]
_MOST_PAIRS = 10
_CAPTION = (
    "Mean over seeds and over the levels of all other factors, with a line from the lowest to the highest seed. "
    "Parallel lines: the two factors do not depend on each other."
)


def interaction(material: ReportData) -> Figure | None:
    """A view for each pair of factors of a full factorial; None for any other grid, whose averages would mislead."""
    comparison = material.comparison
    varied = [factor for factor in comparison.factors if len(factor["levels"]) > 1]
    if len(varied) < 2 or comparison.effects_note is not None:
        return None
    views = {}
    for one, other in list(combinations(varied, 2))[:_MOST_PAIRS]:
        if view := _chart(material, one, other):
            views[plain(f"{one['name']} and {other['name']}")] = view
    return Figure("interaction", "Interactions", _CAPTION, views) if views else None


def _chart(material: ReportData, one: Factor, other: Factor) -> Spec | None:
    comparison = material.comparison
    found: list[dict[str, Any]] = []
    for level in one["levels"]:
        for given in other["levels"]:
            cells = [c for c in comparison.cells if c.levels[one["path"]] == level and c.levels[other["path"]] == given]
            if values := _per_seed(cells, comparison.metric):
                place = {"level": plain(level), "cell": plain(given)}
                found.append({**place, "mean": fmean(values), "low": min(values), "high": max(values)})
    if not found:
        return None
    metric = metric_name(comparison.metric)
    color, dash, chosen = series([row["cell"] for row in found], plain(other["name"]))
    levels = list(dict.fromkeys(plain(level) for level in one["levels"]))
    x = altair.X("level:N", title=plain(one["name"]), sort=levels, axis=altair.Axis(labelAngle=0, labelLimit=120))
    y = altair.Y("mean:Q", title=metric, scale=altair.Scale(zero=False))
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    base = altair.Chart(rows(found)).encode(x=x, color=color, opacity=shown)
    chart = altair.layer(
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=2).encode(y=altair.Y("low:Q", title=metric), y2="high:Q"),
        base.mark_circle(size=60).encode(
            y=y,
            tooltip=[
                altair.Tooltip("level:N", title="level"),
                altair.Tooltip("cell:N", title="with"),
                *spread(),
            ],
        ),
    )
    return spec(chart.add_params(chosen))


def _per_seed(cells: Sequence[CellComparison], metric: str) -> list[float]:
    """The mean over the cells, of each seed that has a value in all of them."""
    columns = zip(*(cell.metrics[metric].values for cell in cells), strict=True)
    complete = [[value for value in column if value is not None] for column in columns]
    return [fmean(values) for values in complete if values and len(values) == len(cells)]
