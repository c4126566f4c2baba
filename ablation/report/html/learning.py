"""Learning curves: a line per cell, a band from the lowest to the highest seed, on tokens and on time."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair

from ...compare.curves import Axis, Curve, Point, curve, pieces
from ..labels import listed, metric_name
from .data import ReportData
from .figure import Figure, Spec, rows, series, spec, spread

_MOST_POINTS = 4000
"""Of one view, all cells together, so that no grid makes the page heavy."""
_FEW = 12
"""Points of a line that are still worth a dot each."""
_EXPLODED, _ROOM = 2.0, 1.25
"""A line is cut off where it rises so many times above the middle one of all highest points; what is left above it."""
_AXES: dict[Axis, str] = {"tokens": "by tokens", "seconds": "by time"}
_TITLES: dict[Axis, str] = {"tokens": "training tokens", "seconds": "seconds of training"}
_PLACES: dict[Axis, str] = {"tokens": "~s", "seconds": "~s"}
_CAPTION = (
    "Mean over seeds; the band goes from the lowest to the highest seed. Time is without validation, taken while runs "
    "trained side by side. Click a name in the legend to see it alone, with shift for several."
)


def learning(material: ReportData) -> list[Figure]:
    """The metric of the grid on validation data, and the training loss."""
    comparison = material.comparison
    wanted = [
        ("validation", f"validation/{material.manifest['metric']}", "Validation"),
        ("training", "train/loss", "Training"),
    ]
    figures = []
    for name, metric, title in wanted:
        views, partial, cut = {}, set[str](), set[str]()
        for axis, view in _AXES.items():
            most = max(20, _MOST_POINTS // len(comparison.cells))
            curves = [
                curve(material.names[label], runs, metric, axis, most)
                for label, runs in material.rows.items()
            ]  # fmt: skip
            curves = [found for found in curves if found.points]
            partial |= {found.label for found in curves if found.stopped}
            if curves:
                limit = _limit(curves)
                cut |= {found.label for found in curves if limit and max(p.high for p in found.points) > limit}
                views[view] = _chart(curves, axis, metric_name(metric.partition("/")[2]), limit)
        if views:
            measured = metric_name(metric.partition("/")[2])
            figures.append(
                Figure(f"curves_{name}", f"{title} {measured}", _CAPTION + _note(partial) + _cut(cut), views)
            )
    return figures


def _note(partial: set[str]) -> str:
    if not partial:
        return ""
    one = len(partial) == 1
    return f" Dotted: fewer seeds than planned; {len(partial)} {'cell is' if one else 'cells are'} partial."


def _limit(curves: Sequence[Curve]) -> float | None:
    """Where lines are cut off at the top, so that one that explodes does not flatten all others; mostly nowhere."""
    tops = [max(point.high for point in found.points) for found in curves]
    typical = median(tops)
    return _ROOM * typical if typical > 0 and max(tops) > _EXPLODED * typical else None


def _cut(cells: set[str]) -> str:
    return f" Cut off at the top: {listed(sorted(cells))}." if cells else ""


def _chart(curves: Sequence[Curve], axis: Axis, metric: str, limit: float | None) -> Spec:
    whole: list[dict[str, Any]] = []
    partial: list[dict[str, Any]] = []
    for number, found in enumerate(curves):
        for stretch, (complete, points) in enumerate(pieces(found)):
            values = [_row(found, point) | {"stretch": f"{number}.{stretch}"} for point in points]
            (whole if complete else partial).extend(values)
    color, dash, chosen = series([found.label for found in curves])
    x = altair.X("x:Q", title=_TITLES[axis], axis=altair.Axis(format=_PLACES[axis], tickCount=6))
    scale = altair.Scale(zero=False) if limit is None else altair.Scale(zero=False, domainMax=limit)
    y = altair.Y("mean:Q", title=metric, scale=scale)
    shown = altair.condition(chosen, altair.value(1.0), altair.value(0.08))
    faint = altair.condition(chosen, altair.value(0.16), altair.value(0.02))
    common = {"x": x, "color": color, "detail": "stretch:N"}
    few = max(len(found.points) for found in curves) <= _FEW
    layers: list[Any] = [
        altair.Chart(rows(whole + partial))
        .mark_area(clip=True)
        .encode(y=altair.Y("low:Q", title=metric, scale=scale), y2="high:Q", opacity=faint, **common),
    ]
    if whole:
        layers.append(
            altair.Chart(rows(whole))
            .mark_line(strokeWidth=2, clip=True)
            .encode(y=y, strokeDash=dash, opacity=shown, **common)
        )
    if partial:
        layers.append(
            altair.Chart(rows(partial))
            .mark_line(strokeWidth=2, strokeDash=[1, 4], clip=True)
            .encode(y=y, opacity=shown, **common)
        )
    layers.append(
        altair.Chart(rows(whole + partial))
        .mark_circle(size=40, clip=True)
        .encode(
            x=x,
            y=y,
            color=color,
            opacity=shown if few else altair.value(0),
            tooltip=[
                altair.Tooltip("cell:N", title="cell"),
                altair.Tooltip("x:Q", title=_TITLES[axis], format=",.4~g"),
                *spread(),
                altair.Tooltip("seeds:N", title="seeds"),
            ],
        )
    )
    return spec(altair.layer(*layers).add_params(chosen), height=320)


def _row(found: Curve, point: Point) -> dict[str, Any]:
    return {
        "cell": found.label,
        "x": _short(point.x),
        "mean": _short(point.mean),
        "low": _short(point.low),
        "high": _short(point.high),
        "seeds": f"{point.runs} of {found.seeds}",
    }


def _short(value: float) -> float:
    """To as many digits as a pixel can show."""
    return float(f"{value:.6g}")
