"""Forest plots: differences with their intervals, a dot per seed, and the margin below which they do not matter."""

from collections.abc import Mapping, Sequence
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
from .figure import Figure, Spec, label_width, rows, shortened, spec, zoom

_ROW, _LABEL_SIZE = 23, 12
"""Pixels of a row and of its label."""
_SIGNED = "+,.4~r"
_SIGN = "(datum.value > 0 ? '+' : '') + datum.label"
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
    title = f"{lens.capitalize()}: difference from the baseline"
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
    direction = f"{measure.better} is better" if measure.better else ""
    title = (
        [f"{axis_title(measure.name)} {against}", direction] if direction else [f"{axis_title(measure.name)} {against}"]
    )
    labels = {data.names[cell.label]: data.short_names[cell.label] for cell in comparison.cells}
    return chart(measure, intervals, dots, title, labels) if intervals else None


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
    views = {"": chart(measure, intervals, [], axis)}
    return Figure("effects", "Main effects and interactions", caption, views, of_cells=False)


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
    return Figure("steps", "Differences from the cell before", caption, views, of_cells=False) if views else None


def shown(measure: Measure, difference: float) -> float:
    """A difference as the figure shows it: logarithms of ratios in percent."""
    return percent_change(difference) if measure.ratio else difference


def limits(
    measure: Measure, intervals: Sequence[Mapping[str, Any]], dots: Sequence[Mapping[str, Any]] = ()
) -> tuple[float, float]:
    """The ends of an axis on which all intervals are, with zero and the margin where that is not much wider."""
    values = [row[key] for row in (*intervals, *dots) for key in ("low", "delta", "high") if row.get(key) is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    margin = shown(measure, measure.margin) if measure.margin else 0.0
    if low == high:
        low, high = (-margin, margin) if margin else (-1.0, 1.0)
    room = 0.05 * (high - low)
    return low - room, high + room


def _interval(measure: Measure, label: str, contrast: Contrast, verdict: str, tone: Tone) -> dict[str, Any]:
    low, high = contrast.interval or (None, None)
    return {
        "cell": label,
        "delta": shown(measure, contrast.delta or 0.0),
        "low": None if low is None else shown(measure, low),
        "high": None if high is None else shown(measure, high),
        "verdict": verdict,
        "color": figure.TONES[tone],
    }


def _dots(measure: Measure, label: str, contrast: Contrast) -> list[dict[str, Any]]:
    """One for each replicate."""
    return [
        {"cell": label, "delta": shown(measure, difference), "replicate": number}
        for number, difference in enumerate(contrast.differences, 1)
    ]


def chart(
    measure: Measure,
    intervals: Sequence[dict[str, Any]],
    dots: Sequence[dict[str, Any]],
    title: str | list[str],
    labels: Mapping[str, str] | None = None,
) -> Spec:
    """A row for each interval with its dots, zero and the margin behind them; ``labels`` are short names of rows."""
    order = [row["cell"] for row in intervals]
    labels = labels or {}
    known = [{**row, "label": labels.get(row["cell"], row["cell"])} for row in intervals]
    names = altair.Chart(rows(known))
    # What is written once holds for all layers, and a long list in each would make the page large.
    first = altair.Y("cell:N", axis=None, scale=altair.Scale(domain=order, paddingInner=0.1))
    y = altair.Y("cell:N", axis=None)
    scale = altair.Scale(zero=True, domain=limits(measure, intervals, dots), nice=False)
    x = altair.X("delta:Q", title=title, scale=scale, axis=altair.Axis(tickCount=6, labelExpr=_SIGN))
    color = altair.Color("color:N", scale=None, legend=None)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("delta:Q", title="difference", format=_SIGNED),
        altair.Tooltip("low:Q", title="from", format=_SIGNED),
        altair.Tooltip("high:Q", title="to", format=_SIGNED),
        altair.Tooltip("verdict:N", title="verdict"),
    ]
    layers: list[Any] = []
    if measure.margin:
        band = rows([{"low": shown(measure, -measure.margin), "high": shown(measure, measure.margin)}])
        rect = altair.Chart(band).mark_rect(color=figure.TONES["open"], opacity=0.18, clip=True)
        layers.append(rect.encode(x="low:Q", x2="high:Q"))
    zero = altair.Chart(rows([{"delta": 0}])).mark_rule(strokeDash=[3, 3], clip=True)
    layers.append(zero.encode(x="delta:Q"))
    if dots:
        circles = altair.Chart(rows(dots)).mark_circle(size=20, opacity=0.5, yOffset=6, clip=True)
        of_dots = [tooltip[0], altair.Tooltip("replicate:O", title="replicate"), tooltip[1]]
        layers.append(circles.encode(y=y, x=x, tooltip=of_dots))
    if any(row["low"] is not None for row in known):
        bars = names.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3, strokeCap="round", clip=True)
        layers.append(bars.encode(y=y, x=altair.X("low:Q", title=title), x2="high:Q", color=color, tooltip=tooltip))
    ticks = names.mark_tick(thickness=3, size=13, orient="vertical", clip=True)
    layers.append(ticks.encode(y=first, x=x, color=color, tooltip=tooltip).add_params(zoom("x")))
    text = shortened("datum.label", "label_width")
    label = names.mark_text(align="right", clip=False, text=altair.ExprRef(text), fontSize=_LABEL_SIZE)
    layers.append(label.encode(y=y, x=altair.value(-8)))
    width = label_width(row["label"] for row in known)
    of_rows = {"row": _ROW, "order": order}
    return {**spec(altair.layer(*layers), height=_ROW * max(len(order), 3), labels=width), "usermeta": of_rows}
