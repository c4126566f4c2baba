"""Forest plots: differences with their intervals, a dot per seed, and the margin below which they do not matter."""

from collections.abc import Sequence
from typing import Any

import altair

from ...compare.families import repeats_sensitivity
from ...compare.measures import LENSES, TOKENS_PER_SECOND, Lens, Measure
from ...compare.records import Effect
from ...stats.contrast import Contrast
from ...store.results import VARIANTS
from ..labels import TONES, Tone, axis_title, effect, effect_verdict, metric_name, metric_verdict, plain
from ..numbers import percent_change
from ..table import measures_of
from . import figure
from .data import MOST_SHOWN, ReportData
from .figure import Figure, Spec, rows, spec, wrapped

_ROW = 44
"""Pixels: a label above, and below it the dots."""
_LINE, _CHARACTERS_PER_LINE = 14, 45
"""Pixels of each further line of a label, and characters of a line where the page is narrow."""
_CAPTION = (
    "Right of zero: more than the baseline. A dot is one {replicate}, the bar its mean with the {confidence} interval; "
    "green is better, orange is worse, blue is equivalent, gray is inconclusive or has no verdict.{margin}"
)


def lenses(data: ReportData) -> list[Figure]:
    """One figure for each lens whose cells can be compared, one view for each measure."""
    return [figure for lens in LENSES if (figure := _of_lens(data, lens))]


def _of_lens(data: ReportData, lens: Lens) -> Figure | None:
    comparison = data.shown
    primary = comparison.primary.get(lens)
    names = [name for name in measures_of(comparison, lens) if name == primary or not name.endswith(VARIANTS)]
    views = {name: view for name in names if (view := _differences(data, comparison.measures[name]))}
    if not views:
        return None
    measure = comparison.measures[next(iter(views))]
    caption = _CAPTION.format(
        replicate="process that took the time" if measure.kind == "timed" else "seed",
        confidence="planned" if comparison.interim_looks else "95 %",
        margin="" if measure.margin is None else " The band is the margin: a difference within it does not matter.",
    )
    title = f"{lens.capitalize()}: difference to the baseline"
    caption = f"{caption} {data.cut}".rstrip()
    return Figure(f"forest_{lens}", title, caption, {metric_name(name): view for name, view in views.items()})


def _differences(data: ReportData, measure: Measure) -> Spec | None:
    if measure.kind == "exact" or measure.name == TOKENS_PER_SECOND:
        return None  # the one has no uncertainty, the other is no evidence; both are in the table
    comparison = data.shown
    intervals, dots = [], []
    for cell in comparison.cells[1:]:
        metric = cell.metrics[measure.name]
        if (
            metric.contrast is None
            or metric.contrast.delta is None
            or repeats_sensitivity(comparison, cell, measure.name)
        ):
            continue
        label = data.names[cell.label]
        verdict, tone = metric_verdict(measure, metric)
        intervals.append(_interval(measure, label, metric.contrast, verdict, tone))
        dots += _dots(measure, label, metric.contrast)
    against = "against the baseline, %" if measure.ratio else "minus the baseline's"
    direction = f" ({measure.better} is better)" if measure.better else ""
    return chart(measure, intervals, dots, f"{axis_title(measure.name)} {against}{direction}") if intervals else None


def effects(data: ReportData) -> Figure | None:
    """Main effects and interactions of the metric the table is about; None where there are none."""
    comparison = data.comparison
    measure = comparison.measures[comparison.metric]
    intervals = []
    interactions = _largest(comparison.interactions, measure.name)
    for item in (*comparison.effects, *interactions):
        contrast = item.contrasts.get(measure.name)
        if contrast is None or contrast.delta is None:
            continue
        words = effect_verdict(comparison, item)
        tone: Tone = "open"
        if item.verdict and item.given is None and "depends" not in words:  # an interaction is no gain or loss
            tone = TONES.get(item.verdict.label, "open")
        intervals.append(_interval(measure, effect(item), contrast, words, tone))
    if not intervals:
        return None
    caption = (
        "The effect of a level, averaged over all cells that have it, with its interval; the band is the margin. Green "
        "is better, orange is worse, blue is equivalent, gray is inconclusive or depends on the other factor. With x: "
        "how much that effect changes with the level of the other factor; with such an interaction, a main effect "
        "alone misleads."
    )
    if len(interactions) < len(comparison.interactions):
        caption += f" Of {len(comparison.interactions):,} interactions, the {len(interactions)} largest are shown."
    axis = f"difference in {axis_title(measure.name)}"
    return Figure("effects", "Main effects and interactions", caption, {"": chart(measure, intervals, [], axis)})


def _largest(effects: Sequence[Effect], name: str) -> list[Effect]:
    """The largest of many by a measure, in their order."""

    def size(index: int) -> float:
        contrast = effects[index].contrasts.get(name)
        return -1.0 if contrast is None or contrast.delta is None else abs(contrast.delta)

    largest = sorted(range(len(effects)), key=size, reverse=True)[:MOST_SHOWN]
    return [effects[index] for index in sorted(largest)]


def steps(data: ReportData) -> Figure | None:
    """Each cell against the one before it; None where the design has no such order."""
    comparison = data.comparison
    views = {}
    for name in measures_of(comparison, "quality"):
        if name.endswith(VARIANTS) and name != comparison.metric:
            continue
        measure = comparison.measures[name]
        intervals, dots = [], []
        for number, item in enumerate(comparison.steps, 1):
            contrast = item.contrasts.get(name)
            if contrast is not None and contrast.delta is not None:
                label = plain(f"{number}: {item.change}")
                intervals.append(_interval(measure, label, contrast, "", "open"))
                dots += _dots(measure, label, contrast)
        if intervals:
            title = f"{axis_title(name)} minus that of the cell before"
            views[metric_name(name)] = chart(measure, intervals, dots, title)
    caption = (
        "What each cell adds to the one before it, with its interval over seeds. Without verdicts: neighboring steps "
        "share a cell, and in another order each step may have another effect."
    )
    return Figure("steps", "Differences to the cell before", caption, views) if views else None


def _shown(measure: Measure, difference: float) -> float:
    """A difference as the figure shows it: logarithms of ratios in percent."""
    return percent_change(difference) if measure.ratio else difference


def _interval(measure: Measure, label: str, contrast: Contrast, verdict: str, tone: Tone) -> dict[str, Any]:
    low, high = contrast.interval or (None, None)
    return {
        "cell": label,
        "delta": _shown(measure, contrast.delta or 0.0),
        "low": None if low is None else _shown(measure, low),
        "high": None if high is None else _shown(measure, high),
        "verdict": verdict,
        "color": figure.TONES[tone],
    }


def _dots(measure: Measure, label: str, contrast: Contrast) -> list[dict[str, Any]]:
    """One for each replicate."""
    return [
        {"cell": label, "delta": _shown(measure, difference), "replicate": number}
        for number, difference in enumerate(contrast.differences, 1)
    ]


def chart(measure: Measure, intervals: Sequence[dict[str, Any]], dots: Sequence[dict[str, Any]], title: str) -> Spec:
    """A row for each interval with its dots, zero and the margin behind them."""
    order = [row["cell"] for row in intervals]
    data = rows(intervals)
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
        band = rows([{"low": _shown(measure, -measure.margin), "high": _shown(measure, measure.margin)}])
        layers.append(
            altair.Chart(band).mark_rect(color=figure.TONES["open"], opacity=0.18).encode(x="low:Q", x2="high:Q")
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
    if known := [row for row in intervals if row["low"] is not None]:
        bars = altair.Chart(rows(known)).mark_rule(strokeWidth=3, opacity=0.9, strokeCap="round")
        layers.append(bars.encode(y=y, x=altair.X("low:Q", title=title), x2="high:Q", color=color, tooltip=tooltip))
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
    lines = 1 + max(map(len, order)) // _CHARACTERS_PER_LINE
    return spec(altair.layer(*layers), height=(_ROW + _LINE * (lines - 1)) * len(order))
