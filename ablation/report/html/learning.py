"""Learning curves: a line per cell, a band from the lowest to the highest seed, over tokens and over time."""

from collections.abc import Sequence
from statistics import median

import altair

from ...compare.curves import Axis, Curve, curve, pieces
from ..labels import axis_title, listed, metric_name
from .data import ReportData
from .figure import PLAIN, Figure, Spec, large_axis, spread_tooltip
from .line_chart import Point, line_chart
from .series import Styles, styles_of_cells

_MOST_POINTS = 4000
"""In one view, all cells together, so that the page stays small."""
_FEW = 12
"""Up to so many points of a line have a dot each."""
_SETTLED = 0.1
"""The figure begins at the top with the highest line after this fraction of the training: before it every loss falls
from that of a model that knows nothing, and would flatten all that follows."""
_EXPLODED, _ROOM = 2.0, 1.25
"""Lines are cut off where one rises above twice the median of all maxima, a quarter above that median."""
_VIEWS: dict[Axis, str] = {"tokens": "by tokens", "seconds": "by time"}
_TITLES: dict[Axis, str] = {"tokens": "tokens seen", "seconds": "seconds of training"}
_CAPTION = "Mean over seeds; the band goes from the lowest to the highest seed."
_BY_TIME = " Time is without validation, taken while runs trained side by side."


def learning_curves(data: ReportData) -> list[Figure]:
    """The metric of the grid on the validation set, and the training loss."""
    of_grid = data.manifest["metric"]
    figures = [
        _figure(data, "curves_validation", f"validation/{of_grid}", f"Validation {metric_name(of_grid)}"),
        _figure(data, "curves_training", "train/loss", "Training loss"),
    ]
    return [figure for figure in figures if figure is not None]


def _figure(data: ReportData, name: str, metric: str, title: str) -> Figure | None:
    """None without a line: a single evaluation, at the end, is in the table."""
    views: dict[str, Spec] = {}
    partial, cut, early = set[str](), set[str](), False
    most = max(20, _MOST_POINTS // len(data.shown.cells))
    styles = styles_of_cells(data)
    for axis, view in _VIEWS.items():
        curves = [curve(data.names[label], runs, metric, axis, most) for label, runs in data.rows.items()]
        curves = [line for line in curves if line.points]
        if all(len(line.points) == 1 for line in curves):
            continue
        domain, highest = _domain(curves)
        partial |= {line.label for line in curves if line.stopped}
        cut |= {line.label for line in curves if _settled(line) > highest}
        early = early or any(point.mean > highest for line in curves for point in line.points)
        views[view] = _chart(curves, styles, axis, axis_title(metric.partition("/")[2]), domain)
    if not views:
        return None
    notes = [
        _CAPTION + (_BY_TIME if _VIEWS["seconds"] in views else ""),
        styles.meaning,
        _partial_note(partial),
        f"Cut off at the top: {listed(sorted(cut))}." if cut else "",
        "What is above the figure early in training can be seen by zooming out." if early and not cut else "",
        data.cut,
    ]
    return Figure(name, title, " ".join(filter(None, notes)), views)


def _partial_note(cells: set[str]) -> str:
    if not cells:
        return ""
    return f"Dotted: fewer seeds than planned; {len(cells)} {'cell is' if len(cells) == 1 else 'cells are'} partial."


def _settled(line: Curve) -> float:
    """The highest mean after the first part of the training."""
    after = [point.mean for point in line.points if point.x >= _SETTLED * line.points[-1].x]
    return max(after or [line.points[-1].mean])


def _domain(curves: Sequence[Curve]) -> tuple[tuple[float, float], float]:
    """That of the figure, and the highest value that it shows: lower than one line that explodes would need."""
    tops = [_settled(line) for line in curves]
    typical, highest = median(tops), max(tops)
    if typical > 0 and highest > _EXPLODED * typical:
        highest = _ROOM * typical
    lowest = min(point.mean for line in curves for point in line.points)
    room = 0.04 * (highest - lowest) or 0.05 * abs(lowest) or 1.0
    return (lowest - room, highest + room), highest + room


def _chart(curves: Sequence[Curve], styles: Styles, axis: Axis, metric: str, domain: tuple[float, float]) -> Spec:
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
        altair.Tooltip("x:Q", title=_TITLES[axis], format=PLAIN),
        *spread_tooltip(),
        altair.Tooltip("seeds:N", title="seeds"),
    ]
    x_axis, title = large_axis((point["x"] for point in points), _TITLES[axis])
    return line_chart(
        points,
        styles,
        altair.X("x:Q", title=title, axis=x_axis, scale=altair.Scale(zero=False, nice=False)),
        metric,
        tooltip,
        domain=domain,
        spread="band",
        dots=max(len(line.points) for line in curves) <= _FEW,
        height=320,
    )


def _six_digits(value: float) -> float:
    """More digits than a pixel shows would only make the page large."""
    return float(f"{value:.6g}")
