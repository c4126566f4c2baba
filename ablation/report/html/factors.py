"""Many factors at once: parallel coordinates, the importance of each, and the metric over the range of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import altair

from ...compare.importance import importance
from ...compare.records import CellComparison
from ..labels import metric_name, plain
from .data import ReportData
from .figure import (
    INK,
    PLAIN,
    TONES,
    Figure,
    Spec,
    is_logarithmic,
    label_width,
    pointed_at,
    rows,
    shortened,
    spec,
    zoom,
)

FEWEST_FACTORS = 3
_MOST_LEVELS = 12
"""Of an axis that have their names beside it; of more, the first and the last."""
_FEW_LEVELS = 8
_GRAY, _ROW = TONES["open"], 30
_CAPTION = (
    "A line for each cell, through its levels, to its mean on the right; blue is better, orange is worse, the baseline "
    "has the color of the text. Cells with the same level are beside each other by their means."
)
_UNORDERED = "A line for each cell, through its levels, to its mean on the right; blue is low, orange is high."
_IMPORTANCE = (
    "Importance: the rank correlation of a factor with the mean over all cells, from -1 to 1; it shows directions, and "
    "is no test."
)


@dataclass(frozen=True)
class _Axis:
    """One factor: ``places`` of its levels from 0 to 1, ``values`` where they are numbers, and which are written."""

    path: str
    name: str
    places: Mapping[str, float]
    values: Mapping[str, float] | None
    written: Mapping[str, float]

    @property
    def width(self) -> float:
        """Over which the cells of one level are spread by their means, so that lines of few levels are not one."""
        return min(0.16, 0.45 / (len(self.places) - 1)) if len(self.places) <= _FEW_LEVELS else 0.0


def factors(data: ReportData) -> Figure | None:
    """None with fewer than three factors that vary."""
    comparison = data.shown
    axes = [axis for factor in comparison.factors if (axis := _axis(factor, comparison.cells)) is not None]
    cells = [cell for cell in comparison.cells if cell.metrics[comparison.metric].mean is not None]
    if len(axes) < FEWEST_FACTORS or len(cells) < 2:
        return None
    views = {"parallel coordinates": _parallel(data, axes, cells)}
    strengths = importance(data.comparison)
    if strengths:
        views["importance"] = _importance(data, strengths)
        views |= {axis.name: _over_range(data, axis, cells) for axis in axes if axis.values is not None}
    notes = [_UNORDERED if comparison.better is None else _CAPTION, _IMPORTANCE if strengths else "", data.cut]
    return Figure("factors", "All factors at once", " ".join(filter(None, notes)), views)


def _axis(factor: Mapping[str, Any], cells: Sequence[CellComparison]) -> _Axis | None:
    """The axis of a factor, its numbers in their order; None where its level is the same in all cells."""
    levels = list(dict.fromkeys(cell.levels.get(factor["path"], "") for cell in cells))
    if len(levels) < 2:
        return None
    try:
        values = {level: float(level) for level in levels}
    except ValueError:
        order = [level for level in map(str, factor["levels"]) if level in levels]
        order += [level for level in levels if level not in order]
        places = {level: index / (len(order) - 1) for index, level in enumerate(order)}
        written = places if len(order) <= _MOST_LEVELS else {level: places[level] for level in (order[0], order[-1])}
        return _Axis(factor["path"], plain(factor["name"]), places, None, written)
    order = sorted(levels, key=values.__getitem__)
    low, high = values[order[0]], values[order[-1]]
    logarithmic = is_logarithmic(low, high)

    def place(value: float) -> float:
        return log(value / low) / log(high / low) if logarithmic else (value - low) / (high - low)

    places = {level: place(values[level]) for level in order}
    written = places if len(order) <= _MOST_LEVELS // 2 else {level: places[level] for level in (order[0], order[-1])}
    return _Axis(factor["path"], plain(factor["name"]), places, values, written)


def _color(data: ReportData, values: Sequence[float]) -> altair.Color:
    """Of a mean: from the better through gray to the worse."""
    ends = [TONES["same"], _GRAY, TONES["bad"]]
    low, high = min(values), max(values)
    domain = [low, (low + high) / 2, high]
    scale = altair.Scale(
        interpolate="rgb", domain=domain, range=ends[::-1] if data.comparison.better == "higher" else ends
    )
    return altair.Color("mean:Q", scale=scale, legend=None)


def _parallel(data: ReportData, axes: Sequence[_Axis], cells: Sequence[CellComparison]) -> Spec:
    metric = data.comparison.metric
    means = {data.names[cell.label]: float(cell.metrics[metric].mean or 0.0) for cell in cells}
    low, high = min(means.values()), max(means.values())
    title = metric_name(metric)
    # Two factors, or a factor and the metric, may have the same name.
    order = [f"{number}" for number in range(len(axes) + 1)]
    titles = [*(axis.name for axis in axes), title]
    order_of_means = sorted(means, key=means.__getitem__)
    points, written = [], []
    for cell in cells:
        name = data.names[cell.label]
        of_cell = {"cell": name, "mean": means[name], "baseline": cell is data.shown.baseline}
        rank = (order_of_means.index(name) / (len(cells) - 1) - 0.5) if len(cells) > 1 else 0.0
        places = [axis.places[cell.levels.get(axis.path, "")] + axis.width * rank for axis in axes]
        places.append((means[name] - low) / (high - low) if high > low else 0.5)
        points += [{**of_cell, "axis": axis, "place": place} for axis, place in zip(order, places, strict=True)]
    for number, axis in zip(order, axes, strict=False):
        written += [{"axis": number, "place": place, "label": plain(level)} for level, place in axis.written.items()]
    ends = {0.0: low, 1.0: high} if high > low else {0.5: low}
    written += [{"axis": order[-1], "place": place, "label": f"{value:.4g}"} for place, value in ends.items()]
    heads = [{"axis": number, "label": text} for number, text in zip(order, titles, strict=True)]
    x = altair.X("axis:N", sort=order, axis=None, scale=altair.Scale(domain=order, padding=0.35))
    y = altair.Y("place:Q", axis=None, scale=altair.Scale(domain=[-0.1, 1.1], nice=False))
    shown = altair.OpacityValue(
        0.12,
        condition=[
            {"param": "pointed", "empty": False, "value": 1},
            {"test": "!length(data('pointed_store'))", "value": 0.7},
        ],
    )
    tooltip = [altair.Tooltip("cell:N", title="cell"), altair.Tooltip("mean:Q", title=title, format=PLAIN)]
    lines = altair.Chart(rows(points))
    usual = lines.transform_filter("!datum.baseline").mark_line(strokeWidth=1.8)
    of_baseline = lines.transform_filter("datum.baseline").mark_line(strokeWidth=2.6, color=INK)
    room = "width / " + str(len(order))
    layers: list[Any] = [
        altair.Chart(rows(heads)).mark_rule(color=_GRAY, opacity=0.6).encode(x=x),
        usual.encode(x=x, y=y, detail="cell:N", color=_color(data, list(means.values())), opacity=shown),
        of_baseline.encode(x=x, y=y, detail="cell:N", opacity=shown),
        lines.mark_circle(size=60).encode(x=x, y=y, opacity=altair.value(0), tooltip=tooltip).add_params(pointed_at()),
        altair.Chart(rows(written))
        .mark_text(align="left", dx=5, fontSize=11, text=altair.ExprRef(shortened("datum.label", f"0.8 * {room}")))
        .encode(x=x, y=y),
        altair.Chart(rows(heads))
        .mark_text(dy=-14, fontSize=12, fontWeight=600, text=altair.ExprRef(shortened("datum.label", f"0.95 * {room}")))
        .encode(x=x, y=altair.value(0)),
    ]
    return spec(altair.layer(*layers), height=320)


def _importance(data: ReportData, strengths: Mapping[str, float]) -> Spec:
    order = [plain(name) for name in strengths]
    bars = [{"name": plain(name), "rho": rho, "label": plain(name)} for name, rho in strengths.items()]
    y = altair.Y("name:N", sort=order, axis=None, scale=altair.Scale(domain=order, paddingInner=0.35))
    title = f"rank correlation with {metric_name(data.comparison.metric)}"
    x = altair.X("rho:Q", title=title, scale=altair.Scale(domain=[-1, 1]), axis=altair.Axis(tickCount=5))
    tooltip = [altair.Tooltip("name:N", title="factor"), altair.Tooltip("rho:Q", title=title, format="+.2f")]
    base = altair.Chart(rows(bars))
    layers = [
        altair.Chart(rows([{"rho": 0}])).mark_rule(strokeDash=[3, 3]).encode(x="rho:Q"),
        base.mark_bar(color=TONES["same"]).encode(y=y, x=x, tooltip=tooltip),
        base.mark_text(align="right", clip=False, text=altair.ExprRef(shortened("datum.label", "label_width"))).encode(
            y=y, x=altair.value(-8)
        ),
    ]
    return spec(altair.layer(*layers), height=_ROW * max(len(bars), 3), labels=label_width(order))


def _over_range(data: ReportData, axis: _Axis, cells: Sequence[CellComparison]) -> Spec:
    """The mean of each cell over its level of one factor."""
    assert axis.values is not None
    metric, values = data.comparison.metric, axis.values
    title = metric_name(metric)
    points = [
        {
            "cell": data.names[cell.label],
            "x": values[cell.levels[axis.path]],
            "mean": cell.metrics[metric].mean,
            "baseline": cell is data.shown.baseline,
        }
        for cell in cells
    ]
    logarithmic = is_logarithmic(min(values.values()), max(values.values()))
    scale = altair.Scale(type="log" if logarithmic else "linear", nice=False, padding=12)
    ticks = altair.Axis(tickCount=6, format=",.6~r", labelOverlap="greedy")
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("x:Q", title=axis.name, format=PLAIN),
        altair.Tooltip("mean:Q", title=title, format=PLAIN),
    ]
    color = altair.condition("datum.baseline", altair.value(INK), altair.value(TONES["same"]))
    circles = altair.Chart(rows(points)).mark_circle(size=80, opacity=0.8, clip=True)
    points_of_cells = circles.encode(
        x=altair.X("x:Q", title=axis.name, scale=scale, axis=ticks),
        y=altair.Y("mean:Q", title=title, scale=altair.Scale(zero=False, padding=8), axis=altair.Axis(tickCount=6)),
        color=color,
        tooltip=tooltip,
    )
    return spec(altair.layer(points_of_cells.add_params(zoom("x", "y"))), height=320)
