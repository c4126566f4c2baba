"""Loss by position: what a model gains from what it has read, and whether it goes on gaining beyond its training."""

from statistics import fmean
from typing import Any

import altair

from .data import ReportData
from .figure import Figure, Spec, rows, series, spec, spread

_CAPTION = (
    "Mean over seeds and over the texts of the last validation; what all lines do alike comes from the texts. A line "
    "that climbs away from the others has lost the thread: on texts longer than in training, whose length is the "
    "dashed line, the position encoding does not extrapolate."
)


def position(material: ReportData) -> Figure | None:
    """A view for each validation set of a language model; None where none was taken apart."""
    endings = dict.fromkeys(
        ending
        for result in material.results.values()
        for ending in (result.get("quality") or {}).get("by_position") or {}
    )
    titles = {ending: ending.lstrip("@") or "as in training" for ending in endings}
    trained = _longest(material, "")
    views = {title: drawn for ending, title in titles.items() if (drawn := _chart(material, ending, trained))}
    return Figure("position", "Loss by position", _CAPTION, views) if views else None


def _longest(material: ReportData, ending: str) -> float | None:
    """The last position of the texts of a validation set."""
    ends = [curve[-1][0] for cell in material.comparison.cells for curve in material.by_position(cell, ending)]
    return max(ends, default=None)


def _chart(material: ReportData, ending: str, trained: float | None) -> Spec | None:
    found: list[dict[str, Any]] = []
    for cell in material.comparison.cells:
        for column in zip(*material.by_position(cell, ending), strict=False):
            losses = [loss for _, loss in column]
            place = {"cell": material.names[cell.label], "position": column[0][0]}
            found.append({**place, "mean": fmean(losses), "low": min(losses), "high": max(losses)})
    if not found:
        return None
    color, dash, chosen = series([row["cell"] for row in found])
    x = altair.X("position:Q", title="position in the text, tokens", scale=altair.Scale(zero=False, nice=False))
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    base = altair.Chart(rows(found)).encode(x=x, color=color, opacity=shown)
    y = altair.Y("mean:Q", title="loss in nats per token", scale=altair.Scale(zero=False))
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("position:Q", title="position", format=".0f"),
        *spread(),
    ]
    layers: list[Any] = []
    if trained is not None and found[-1]["position"] > trained:
        end = altair.Chart(rows([{"position": trained}])).mark_rule(strokeDash=[3, 3])
        layers.append(end.encode(x="position:Q"))
    layers += [
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash),
        base.mark_circle(size=30).encode(y=y, tooltip=tooltip),
    ]
    return spec(altair.layer(*layers).add_params(chosen))
