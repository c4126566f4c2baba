"""Learning curves: a line per cell, a band from the lowest to the highest seed, over tokens and over time."""

from collections.abc import Sequence
from statistics import median

import altair

from ...compare.curves import Axis, Curve, curve, pieces
from ..labels import axis_title, listed, metric_name
from .data import ReportData
from .figure import Figure, Spec, spread_tooltip
from .lines import Point, line_chart

_MOST_POINTS = 4000
"""In one view, all cells together, so that the page stays small."""
_FEW = 12
"""Up to so many points of a line have a dot each."""
_EXPLODED, _ROOM = 2.0, 1.25
"""Lines are cut off where one rises above twice the median of all maxima, a quarter above that median."""
_VIEWS: dict[Axis, str] = {"tokens": "by tokens", "seconds": "by time"}
_TITLES: dict[Axis, str] = {"tokens": "training tokens", "seconds": "seconds of training"}
_CAPTION = (
    "Mean over seeds; the band goes from the lowest to the highest seed. Time is without validation, taken while runs "
    "trained side by side. Click a name in the legend to see it alone, with shift for several."
)


def learning_curves(data: ReportData) -> list[Figure]:
    """The metric of the grid on the validation set, and the training loss."""
    of_grid = data.manifest["metric"]
    figures = [
        _figure(data, "curves_validation", f"validation/{of_grid}", f"Validation {metric_name(of_grid)}"),
        _figure(data, "curves_training", "train/loss", "Training loss"),
    ]
    return [figure for figure in figures if figure is not None]


def _figure(data: ReportData, name: str, metric: str, title: str) -> Figure | None:
    views: dict[str, Spec] = {}
    partial, cut = set[str](), set[str]()
    most = max(20, _MOST_POINTS // len(data.shown.cells))
    for axis, view in _VIEWS.items():
        curves = [curve(data.names[label], runs, metric, axis, most) for label, runs in data.rows.items()]
        curves = [line for line in curves if line.points]
        if not curves:
            continue
        limit = _limit(curves)
        partial |= {line.label for line in curves if line.stopped}
        cut |= {line.label for line in curves if limit and max(point.high for point in line.points) > limit}
        views[view] = _chart(curves, axis, axis_title(metric.partition("/")[2]), limit)
    return (
        Figure(name, title, f"{_CAPTION}{_partial_note(partial)}{_cut_note(cut)} {data.cut}".rstrip(), views)
        if views
        else None
    )


def _partial_note(cells: set[str]) -> str:
    if not cells:
        return ""
    return f" Dotted: fewer seeds than planned; {len(cells)} {'cell is' if len(cells) == 1 else 'cells are'} partial."


def _cut_note(cells: set[str]) -> str:
    return f" Cut off at the top: {listed(sorted(cells))}." if cells else ""


def _limit(curves: Sequence[Curve]) -> float | None:
    """The top of the figure where one line explodes and would flatten all others; else None."""
    tops = [max(point.high for point in line.points) for line in curves]
    typical = median(tops)
    return _ROOM * typical if typical > 0 and max(tops) > _EXPLODED * typical else None


def _chart(curves: Sequence[Curve], axis: Axis, metric: str, limit: float | None) -> Spec:
    points: list[Point] = []
    for number, line in enumerate(curves):
        for stretch, (complete, part) in enumerate(pieces(line)):
            points += [
                {
                    "cell": line.label,
                    "x": _six_digits(point.x),
                    "mean": _six_digits(point.mean),
                    "low": _six_digits(point.low),
                    "high": _six_digits(point.high),
                    "seeds": f"{point.runs} of {line.seeds}",
                    "stretch": f"{number}.{stretch}",
                    "partial": not complete,
                }
                for point in part
            ]
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("x:Q", title=_TITLES[axis], format=",.4~g"),
        *spread_tooltip(),
        altair.Tooltip("seeds:N", title="seeds"),
    ]
    return line_chart(
        points,
        altair.X("x:Q", title=_TITLES[axis], axis=altair.Axis(format="~s", tickCount=6)),
        metric,
        tooltip,
        y_scale=altair.Scale(zero=False) if limit is None else altair.Scale(zero=False, domainMax=limit),
        spread="band",
        dots=max(len(line.points) for line in curves) <= _FEW,
        clip=True,
        height=320,
    )


def _six_digits(value: float) -> float:
    """More digits than a pixel shows would only make the page large."""
    return float(f"{value:.6g}")
