"""A chart with a line per cell, whose names are written where the lines end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair

from .figure import Spec, label_width, pointed_at, rows, shortened, spec, zoom
from .series import COLORS, MOST_NAMED, Styles

Point = dict[str, Any]
_LABEL_SIZE, _JOIN, _SAMPLE = 11, 12, 20
"""Pixels of a line's name, of what joins it with its line, and of the sample of the line before it."""


def line_chart(
    points: Sequence[Point],
    styles: Styles,
    x: altair.X,
    y_title: str,
    tooltip: Sequence[altair.Tooltip],
    *,
    logarithmic: bool = False,
    domain: tuple[float, float] | None = None,
    spread: Literal["bars", "band", "none"] = "bars",
    dots: bool = True,
    continuous: bool = True,
    behind: Sequence[Any] = (),
    crosses: Sequence[Point] = (),
    height: int = 300,
) -> Spec:
    """A line per ``cell`` through the ``mean`` of its points, which have an ``x``, a ``low`` and a ``high`` as well.

    Named lines have their name where they end. Points with ``partial`` are on a dotted line; ``stretch`` names the
    stretch of the line that a point belongs to. Without ``dots`` the points are invisible and have only the tooltip.
    ``crosses`` are the points that are marked by one; ``behind`` are further layers; ``domain`` is that of the means;
    ``continuous``: whether x is a number.
    """
    present = {point["cell"] for point in points}
    names = [name for name in styles.of if name in present]
    named = [name for name in names if styles.of[name].named]
    domain = domain or _domain(points, named if spread != "none" else [], logarithmic)
    scale, axis = altair.Scale(domain=domain, nice=False, zero=False), altair.Axis(tickCount=6)
    if logarithmic:
        scale, axis = altair.Scale(type="log", domain=domain, nice=False), altair.Axis(tickCount=6, format=",.6~r")
    y, low = (altair.Y(f"{name}:Q", title=y_title, scale=scale, axis=axis) for name in ("mean", "low"))
    colors, dashes = [styles.of[name].color for name in names], [list(styles.of[name].dash) for name in names]
    # What is written once holds for all layers, and a long list in each would make the page large.
    first_color = altair.Color("cell:N", scale=altair.Scale(domain=names, range=colors), legend=None)
    first_dash = altair.StrokeDash("cell:N", scale=altair.Scale(domain=names, range=dashes), legend=None)
    color, dash = altair.Color("cell:N", legend=None), altair.StrokeDash("cell:N", legend=None)
    data = altair.Chart(rows(points))
    of_named = altair.FieldOneOfPredicate(field="cell", oneOf=named)

    def opacity(usual: float) -> altair.OpacityValue:
        pointed = {"param": "pointed", "empty": False, "value": min(1.0, 2 * usual)}
        nothing = {"test": "!length(data('pointed_store'))", "value": usual}
        return altair.OpacityValue(0.15 * usual, condition=[pointed, nothing])

    common: dict[str, Any] = {"x": x, "color": color}
    if any("stretch" in point for point in points):
        common["detail"] = "stretch:N"
    layers: list[Any] = [*behind]
    if len(named) < len(names):
        gray = data.transform_filter(~of_named).mark_line(clip=True)
        layers.append(gray.encode(y=y, opacity=opacity(0.4), **common))
    colored = data.transform_filter(of_named)
    if spread == "band":
        band = colored.mark_area(clip=True)
        layers.append(band.encode(y=low, y2="high:Q", opacity=opacity(0.12), **common))
    shown = opacity(1.0)
    partial = any(point.get("partial") for point in points)
    whole = colored.transform_filter("!datum.partial") if partial else colored
    layers.append(whole.mark_line(strokeWidth=2, clip=True).encode(y=y, strokeDash=first_dash, opacity=shown, **common))
    if partial:
        line = colored.transform_filter("datum.partial").mark_line(strokeWidth=2, strokeDash=[1, 4], clip=True)
        layers.append(line.encode(y=y, opacity=shown, **common))
    if spread == "bars":
        bars = colored.mark_rule(strokeWidth=2, clip=True)
        layers.append(bars.encode(y=low, y2="high:Q", opacity=shown, **common))
    circles = data.mark_circle(size=45, clip=True).encode(
        x=x, y=y, color=first_color, opacity=shown if dots else altair.value(0), tooltip=list(tooltip)
    )
    layers.append(circles.add_params(zoom("x", "y") if continuous else zoom("y"), pointed_at()))
    if crosses:
        marks = altair.Chart(rows(crosses)).mark_point(shape="cross", angle=45, size=160, strokeWidth=2, clip=True)
        layers.append(marks.encode(x=x, y=y, color=color, opacity=shown, tooltip=list(tooltip)))
    every = _ends(points, {name: styles.of[name].label for name in names}, domain, logarithmic, height)
    ends = _ends(points, {name: styles.of[name].label for name in named}, domain, logarithmic, height)
    layers += _end_labels(ends, x, y_title, color, dash)
    width = label_width(end["label"] for end in every)
    # What the page needs to name other lines, where the reader has chosen some.
    lines = {"ends": every, "domain": domain, "logarithmic": logarithmic, "colors": COLORS, "most": MOST_NAMED}
    return {**spec(altair.layer(*layers), height=height, labels=width), "usermeta": {"lines": lines}}


def _end_labels(
    ends: Sequence[Point], x: altair.X, y_title: str, color: altair.Color, dash: altair.StrokeDash
) -> list[Any]:
    """The names of lines to the right of the figure, each joined with the end of its line."""
    data = altair.Chart(rows(ends))
    at = altair.Y("at:Q", title=y_title)
    join = data.mark_rule(clip=False, strokeWidth=0.8).encode(
        x=x,
        x2=altair.value(altair.ExprRef(f"width + {_JOIN}")),
        y=altair.Y("mean:Q", title=y_title),
        y2="at:Q",
        color=color,
        opacity=altair.value(0.6),
    )
    sample = data.mark_rule(clip=False, strokeWidth=2.5).encode(
        x=altair.value(altair.ExprRef(f"width + {_JOIN}")),
        x2=altair.value(altair.ExprRef(f"width + {_JOIN + _SAMPLE}")),
        y=at,
        color=color,
        strokeDash=dash,
    )
    text = shortened("datum.label", "label_width")
    names = data.mark_text(clip=False, align="left", text=altair.ExprRef(text), fontSize=_LABEL_SIZE).encode(
        x=altair.value(altair.ExprRef(f"width + {_JOIN + _SAMPLE + 5}")), y=at
    )
    return [join, sample, names]


def _domain(points: Sequence[Point], spread: Sequence[str], logarithmic: bool) -> tuple[float, float]:
    """From the lowest to the highest of the means, and of the ends of those lines whose spread is shown, with room."""
    values = [point["mean"] for point in points]
    values += [point[end] for point in points if point["cell"] in set(spread) for end in ("low", "high")]
    if logarithmic:
        low, high = math.log(min(values)), math.log(max(values))
        room = 0.04 * (high - low) or 0.1
        return math.exp(low - room), math.exp(high + room)
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.05 * abs(low) or 1.0
    return low - room, high + room


def _ends(
    points: Sequence[Point], labels: Mapping[str, str], domain: tuple[float, float], logarithmic: bool, height: int
) -> list[Point]:
    """The last point of each of the lines with a label, and ``at``, where on the axis its label has room."""
    last = {point["cell"]: point for point in points if point["cell"] in labels}
    low, high = map(math.log, domain) if logarithmic else domain

    def pixel(value: float) -> float:
        value = math.log(value) if logarithmic else value
        return min(max(height * (high - value) / (high - low), 0.0), float(height))

    def value(pixel: float) -> float:
        found = high - pixel * (high - low) / height
        return math.exp(found) if logarithmic else found

    order = sorted(last, key=lambda name: pixel(last[name]["mean"]))
    places = _spread_out([pixel(last[name]["mean"]) for name in order], _LABEL_SIZE + 2, height)
    return [
        {"cell": name, "x": last[name]["x"], "mean": last[name]["mean"], "at": value(place), "label": labels[name]}
        for name, place in zip(order, places, strict=True)
    ]


def _spread_out(places: Sequence[float], distance: float, height: float) -> list[float]:
    """Ascending places moved as little as needed to be ``distance`` from each other, and within the height if it fits.

    Neighbors that would overlap become a group around the mean of where they would be.
    """
    groups: list[tuple[float, int]] = []  # the middle of a group, and its size
    for place in places:
        groups.append((place, 1))
        while True:
            middle, size = groups[-1]
            half = (size - 1) * distance / 2
            middle = max(min(middle, height - half), half)
            groups[-1] = (middle, size)
            if len(groups) == 1:
                break
            before, of_before = groups[-2]
            if middle - before >= (size + of_before) * distance / 2:
                break
            groups[-2:] = [((before * of_before + middle * size) / (of_before + size), of_before + size)]
    return [middle + (index - (size - 1) / 2) * distance for middle, size in groups for index in range(size)]
