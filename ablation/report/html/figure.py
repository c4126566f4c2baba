"""Figure: one question, drawn in one or more views; each view is a Vega-Lite specification.

The same specification is interactive in the page and becomes SVG and PNG without a browser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair

from . import theme

Spec = dict[str, Any]
Drawing = altair.Chart | altair.LayerChart | altair.FacetChart
PICTURE_WIDTH = 640
"""Pixels of a picture; in the page a figure is as wide as its place."""
_PICTURE_SCALE = 2.0
_FITS = "max(16, floor(width / 6.5) - 2)"
"""An expression: how many characters of a label the figure is wide."""


@dataclass(frozen=True)
class Figure:
    """``name`` is what its files are called; ``views`` are by their name, the first is the one shown."""

    name: str
    title: str
    caption: str
    views: Mapping[str, Spec]


def rows(values: Sequence[Mapping[str, Any]]) -> altair.InlineData:
    """Rows for a chart. Their columns have names of our own: a name from outside could be read as a path."""
    return altair.InlineData(values=[dict(value) for value in values])


def spread() -> list[altair.Tooltip]:
    """What a point that is a mean over seeds says when it is pointed at."""
    titles = {"mean": "mean", "low": "lowest", "high": "highest"}
    return [altair.Tooltip(f"{name}:Q", title=title, format=".4g") for name, title in titles.items()]


def spec(chart: Drawing, height: int = 280) -> Spec:
    """The chart as wide as the place it is put in."""
    found: Spec = chart.properties(width="container", height=height).to_dict()
    del found["config"]  # altair's own look; the theme says how figures look
    return found


def wrapped(text: str) -> str:
    """An expression: the expression ``text`` in lines broken between words, none wider than the figure."""
    return f"trim(replace({text}, regexp('(.{{1,' + {_FITS} + '}})( |$)', 'g'), '$1\\n'))"


def shortened(text: str) -> str:
    """An expression: the expression ``text``, its middle left out where it is wider than the figure."""
    half = f"floor({_FITS} / 2) - 1"
    return f"length({text}) > {_FITS} ? slice({text}, 0, {half}) + '\u2026' + slice({text}, -({half})) : {text}"


def series(labels: Sequence[str], title: str | None = None) -> tuple[altair.Color, altair.StrokeDash, altair.Parameter]:
    """Color and dashes of lines by ``cell``, and the selection that a click in the legend makes."""
    labels = list(dict.fromkeys(labels))
    dashes = [theme.DASHES[number // theme.COLORS % len(theme.DASHES)] for number in range(len(labels))]
    legend = altair.Legend(labelExpr=shortened("datum.label"), labelLimit=altair.ExprRef("width"))
    color = altair.Color("cell:N", title=title, scale=altair.Scale(domain=labels), sort=labels, legend=legend)
    scale = altair.Scale(domain=labels, range=dashes)
    dash = altair.StrokeDash("cell:N", title=title, scale=scale, sort=labels, legend=legend)
    chosen = altair.selection_point(fields=["cell"], bind="legend", name="chosen")
    return color, dash, chosen


def write(figures: Sequence[Figure], directory: Path) -> list[Path]:
    """Every view of every figure as SVG and PNG. Errors: OSError."""
    import vl_convert

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for figure in figures:
        for number, view in enumerate(figure.views.values()):
            stem = figure.name if number == 0 else f"{figure.name}_{number + 1}"
            picture = {**view, "width": PICTURE_WIDTH, "config": theme.PRINT}
            svg, png = directory / f"{stem}.svg", directory / f"{stem}.png"
            svg.write_text(vl_convert.vegalite_to_svg(picture), encoding="utf-8")
            png.write_bytes(vl_convert.vegalite_to_png(picture, scale=_PICTURE_SCALE))
            files += [svg, png]
    return files
