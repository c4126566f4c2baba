"""Forest plot: every cell's difference to the baseline, a dot per seed, its interval, what is too small to matter."""

from collections.abc import Sequence
from typing import Any

import altair

from ...compare.families import repeats_sensitivity
from ...compare.measures import LENSES, TOKENS_PER_SECOND, Lens, Measure
from ..labels import effect, effect_verdict, metric_name, plain
from . import theme
from .data import ReportData
from .figure import Figure, Spec, rows, spec, wrapped
from .lenses import TITLES, TONES, change, difference_title, named, tone, verdict

_ROW = 44
"""Pixels: a label above, and below it the dots."""
_LINE, _ON_A_LINE = 14, 45
"""Pixels of each further line of a label, and characters of one where the page is narrow."""
_CAPTION = (
    "Right of zero: more than the baseline. A dot is one {replicate}, the bar its mean with the {confidence} interval; "
    "green is better, orange is worse, blue is equivalent, gray is undecided or not judged.{margin}"
)


def forest(material: ReportData) -> list[Figure]:
    """One figure for each lens whose cells can be compared, one view for each measure."""
    return [figure for lens in LENSES if (figure := _of_lens(material, lens))]


def _of_lens(material: ReportData, lens: Lens) -> Figure | None:
    comparison = material.comparison
    views = {metric_name(name): view for name in named(comparison, lens) if (view := _view(material, name))}
    if not views:
        return None
    first = next(name for name in named(comparison, lens) if metric_name(name) in views)
    measure = comparison.measures[first]
    caption = _CAPTION.format(
        replicate="process that took the time" if measure.kind == "timed" else "seed",
        confidence="95 %" if not comparison.interim_looks else "planned",
        margin="" if measure.margin is None else " The band is the margin: a difference within it does not matter.",
    )
    return Figure(f"forest_{lens}", f"{TITLES[lens]}: difference to the baseline", caption, views)


def _view(material: ReportData, name: str) -> Spec | None:
    comparison = material.comparison
    measure = comparison.measures[name]
    if measure.kind == "exact" or name == TOKENS_PER_SECOND:
        return None  # one has no uncertainty, the other no meaning; both stand in the table
    found, dots = [], []
    for cell in comparison.cells[1:]:
        metric = cell.metrics[name]
        if metric.contrast is None or metric.contrast.delta is None or repeats_sensitivity(comparison, cell, name):
            continue
        label = material.names[cell.label]
        low, high = metric.contrast.interval or (None, None)
        found.append(
            _row(measure, label, metric.contrast.delta, low, high)
            | {"verdict": verdict(measure, metric), "color": theme.TONES[tone(measure, metric)]}
        )
        dots += [
            {"cell": label, "delta": change(measure, difference), "replicate": number}
            for number, difference in enumerate(metric.contrast.differences, 1)
        ]
    return chart(measure, found, dots, difference_title(measure)) if found else None


def effects(material: ReportData) -> Figure | None:
    """Main effects and interactions of the metric the table is about; None where there are none."""
    comparison = material.comparison
    measure = comparison.measures[comparison.metric]
    found = []
    for item in (*comparison.effects, *comparison.interactions):
        contrast = item.contrasts.get(measure.name)
        if contrast is None or contrast.delta is None:
            continue
        low, high = contrast.interval or (None, None)
        said = effect_verdict(comparison, item)
        # That two factors depend on each other is neither a gain nor a loss.
        judged = item.verdict.label if item.verdict and item.given is None else ""
        color = theme.TONES["open" if "depends" in said else TONES.get(judged, "open")]
        found.append(_row(measure, effect(item), contrast.delta, low, high) | {"verdict": said, "color": color})
    if not found:
        return None
    caption = (
        "What a level does on average over all cells that have it, with its interval; the band is the margin. Green is "
        "better, orange is worse, blue is equivalent, gray is undecided or depends on the other factor. With x: by how "
        "much that changes where the other factor has its level; where there is such, a main effect alone misleads."
    )
    axis = f"difference in {metric_name(measure.name)}"
    return Figure("effects", "Main effects and interactions", caption, {"": chart(measure, found, [], axis)})


def steps(material: ReportData) -> Figure | None:
    """Each cell against the one before it; None where the design has no such order."""
    comparison = material.comparison
    views = {}
    for name in named(comparison, "quality"):
        measure, found, dots = comparison.measures[name], [], []
        for number, item in enumerate(comparison.steps, 1):
            contrast = item.contrasts.get(name)
            if contrast is None or contrast.delta is None:
                continue
            low, high = contrast.interval or (None, None)
            label = plain(f"{number}: {item.change}")
            found.append(
                _row(measure, label, contrast.delta, low, high) | {"verdict": "", "color": theme.TONES["open"]}
            )
            dots += [
                {"cell": label, "delta": change(measure, difference), "replicate": replicate}
                for replicate, difference in enumerate(contrast.differences, 1)
            ]
        if found:
            views[metric_name(name)] = chart(measure, found, dots, f"{metric_name(name)} minus that of the cell before")
    caption = (
        "What each cell adds to the one before it, with its interval over seeds. Described, not judged: neighboring "
        "steps share a cell, and another order may divide the way otherwise."
    )
    return Figure("steps", "Differences to the cell before", caption, views) if views else None


def _row(measure: Measure, label: str, delta: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {
        "cell": label,
        "delta": change(measure, delta),
        "low": None if low is None else change(measure, low),
        "high": None if high is None else change(measure, high),
    }


def chart(measure: Measure, found: Sequence[dict[str, Any]], dots: Sequence[dict[str, Any]], title: str) -> Spec:
    """Rows with intervals, dots over them, zero and the margin behind."""
    order = [row["cell"] for row in found]
    data = rows(found)
    y = altair.Y("cell:N", sort=order, axis=None, scale=altair.Scale(domain=order))
    x = altair.X("delta:Q", title=title, scale=altair.Scale(zero=True), axis=altair.Axis(tickCount=6))
    color = altair.Color("color:N", scale=None, legend=None)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("delta:Q", title="difference", format="+.4g"),
        altair.Tooltip("low:Q", title="from", format="+.4g"),
        altair.Tooltip("high:Q", title="to", format="+.4g"),
        altair.Tooltip("verdict:N", title="verdict"),
    ]
    label = wrapped("datum.cell")
    above = f"-8 - {_LINE} * (length(split({label}, '\\n')) - 1)"
    layers: list[Any] = []
    if measure.margin:
        band = rows([{"low": change(measure, -measure.margin), "high": change(measure, measure.margin)}])
        layers.append(
            altair.Chart(band).mark_rect(color=theme.TONES["open"], opacity=0.18).encode(x="low:Q", x2="high:Q")
        )
    layers.append(altair.Chart(rows([{"delta": 0}])).mark_rule(strokeDash=[3, 3]).encode(x="delta:Q"))
    layers += [
        altair.Chart(data)
        .mark_tick(thickness=3, size=18, orient="vertical")
        .encode(y=y, x=x, color=color, tooltip=tooltip),
        altair.Chart(data)
        .mark_text(align="left", baseline="bottom", dy=altair.ExprRef(above), text=altair.ExprRef(label))
        .encode(y=y, x=altair.value(0)),
    ]
    if sure := [row for row in found if row["low"] is not None]:
        intervals = altair.Chart(rows(sure)).mark_rule(strokeWidth=3, opacity=0.9, strokeCap="round")
        layers.append(
            intervals.encode(y=y, x=altair.X("low:Q", title=title), x2="high:Q", color=color, tooltip=tooltip)
        )
    if dots:
        layers.append(
            altair.Chart(rows(dots))
            .mark_circle(size=34, opacity=0.55, yOffset=9)
            .encode(
                y=y,
                x=x,
                tooltip=[
                    altair.Tooltip("cell:N", title="cell"),
                    altair.Tooltip("replicate:O", title="replicate"),
                    altair.Tooltip("delta:Q", title="difference", format="+.4g"),
                ],
            )
        )
    lines = 1 + max(map(len, order)) // _ON_A_LINE
    return spec(altair.layer(*layers), height=(_ROW + _LINE * (lines - 1)) * len(order))
