"""Figure: one question in one or more views, each a Vega-Lite specification; and the style of all figures.

The same specification is interactive in the page and becomes SVG and PNG without a browser. The baseline has the color
of the text, since every other cell is compared with it. The other colors can be distinguished with any color vision
(after Okabe and Ito 2008) on light and on dark backgrounds.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import altair

from ..labels import Tone

Spec = dict[str, Any]
Drawing = altair.Chart | altair.LayerChart | altair.FacetChart
PICTURE_WIDTH = 640
"""Pixels of a picture; in the page a figure is as wide as its column."""
_PICTURE_SCALE = 2.0
PAPER_WIDTH = 234
"""Points of a figure for a paper: 3.25 inches, a column of most conferences."""
_PAPER_FONT = 8
"""Points of all text in it."""
_FONT_SIZE = 12
"""Pixels of the same text before it is made smaller."""
_CHARACTERS = "max(16, floor(width / 6.5) - 2)"
"""An expression: how many characters of a label fit into the width of the figure."""

TONES: dict[Tone, str] = {"good": "#0f8f6b", "bad": "#d1531d", "same": "#2878b5", "open": "#8b8f98"}
"""Colors of verdicts, on light and on dark."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_COLORS = ["#2878b5", "#e07b1a", "#159c77", "#c0579a", "#b39700", "#45a5dd", "#c7432b", "#7a6fd0", "#7f8f3a"]
_DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2])
"""With more cells than colors, the lines of the same color differ in their dashes."""


@dataclass(frozen=True)
class Figure:
    """``name`` is that of its files; ``views`` are by their title, the first is shown at first."""

    name: str
    title: str
    caption: str
    views: Mapping[str, Spec]


class _Named(str):
    """The name of a data set, with its rows: altair would check and copy each of them many times over."""

    values: list[dict[str, Any]]


def rows(values: Sequence[Mapping[str, Any]]) -> altair.NamedData:
    """Rows for a chart. Their columns have names of our own: Vega could read a name from outside as a path."""
    plain = [dict(value) for value in values]
    name = _Named(f"data-{sha256(json.dumps(plain).encode()).hexdigest()[:32]}")
    name.values = plain
    return altair.NamedData(name=name)


def spread_tooltip() -> list[altair.Tooltip]:
    """The tooltip of a point that is a mean over seeds."""
    titles = {"mean": "mean", "low": "lowest", "high": "highest"}
    return [altair.Tooltip(f"{name}:Q", title=title, format=".4g") for name, title in titles.items()]


def spec(chart: Drawing, height: int = 280) -> Spec:
    """The specification of a chart that is as wide as its container."""
    specification: Spec = chart.properties(width="container", height=height).to_dict(validate=False)
    del specification["config"]  # that of altair, in place of which the page and pictures have the themes below
    specification["datasets"] = {str(name): name.values for name in _names(specification)}
    return specification


def _names(part: Any) -> Iterator[_Named]:
    """The names of the data sets in a specification."""
    if isinstance(part, _Named):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _names(inner)


def wrapped(text: str) -> str:
    """An expression: the expression ``text`` in lines broken between words, none wider than the figure."""
    return f"trim(replace({text}, regexp('(.{{1,' + {_CHARACTERS} + '}})( |$)', 'g'), '$1\\n'))"


def shortened(text: str) -> str:
    """An expression: the expression ``text`` without its middle where it is wider than the figure."""
    half = f"floor({_CHARACTERS} / 2) - 1"
    cut = f"slice({text}, 0, {half}) + '\u2026' + slice({text}, -({half}))"
    return f"length({text}) > {_CHARACTERS} ? {cut} : {text}"


def series(labels: Sequence[str], title: str | None = None) -> tuple[altair.Color, altair.StrokeDash, altair.Parameter]:
    """Color and dashes of lines by ``cell``, and the selection that a click in the legend makes."""
    labels = list(dict.fromkeys(labels))
    dashes = [_DASHES[index // (len(_COLORS) + 1) % len(_DASHES)] for index in range(len(labels))]
    legend = altair.Legend(labelExpr=shortened("datum.label"), labelLimit=altair.ExprRef("width"))
    color = altair.Color("cell:N", title=title, scale=altair.Scale(domain=labels), sort=labels, legend=legend)
    scale = altair.Scale(domain=labels, range=dashes)
    dash = altair.StrokeDash("cell:N", title=title, scale=scale, sort=labels, legend=legend)
    selected = altair.selection_point(fields=["cell"], bind="legend", name="chosen")
    return color, dash, selected


def write(figures: Sequence[Figure], directory: Path, paper: bool = False) -> list[Path]:
    """Every view of every figure as SVG and PNG, or for a ``paper`` as PDF in its size. Errors: OSError."""
    import vl_convert

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for figure in figures:
        for number, view in enumerate(figure.views.values()):
            stem = figure.name if number == 0 else f"{figure.name}_{number + 1}"
            if paper:
                files.append(directory / f"{stem}.pdf")
                files[-1].write_bytes(_for_paper(view))
                continue
            picture = {**view, "width": PICTURE_WIDTH, "config": PRINT}
            svg, png = directory / f"{stem}.svg", directory / f"{stem}.png"
            svg.write_text(vl_convert.vegalite_to_svg(picture), encoding="utf-8")
            png.write_bytes(vl_convert.vegalite_to_png(picture, scale=_PICTURE_SCALE))
            files += [svg, png]
    return files


def _for_paper(view: Spec) -> bytes:
    """A view as PDF, as wide as a column with its axes, with the font size of a paper and its fonts embedded.

    It is drawn as elsewhere and made smaller as a whole, so that lines and marks keep their proportions to the text.
    """
    import vl_convert

    scale = _PAPER_FONT / _FONT_SIZE
    width = round(PAPER_WIDTH / scale)
    picture = {**view, "width": width, "autosize": {"type": "fit-x", "contains": "padding"}, "config": PAPER}
    svg = vl_convert.vegalite_to_svg(picture)
    size = re.match(r'<svg\b[^>]* width="([\d.]+)" height="([\d.]+)"', svg)
    assert size is not None
    begin = size[0].replace(f'width="{size[1]}" height="{size[2]}"',
                            f'width="{scale * float(size[1]):g}" height="{scale * float(size[2]):g}"')  # fmt: skip
    return vl_convert.svg_to_pdf(begin + svg[size.end() :])


def _theme(ink: str, faint: str, background: str | None) -> dict[str, Any]:
    """A Vega configuration with one color for text and baseline and one for grid lines."""
    return {
        "background": background,
        "font": _FONT,
        "lineBreak": "\n",
        "padding": 4,
        "view": {"stroke": None},
        "range": {"category": [ink, *_COLORS]},
        "mark": {"color": ink},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "tick": {"color": ink},
        "point": {"color": ink},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 12,
            "gridColor": faint,
            "domainColor": faint,
            "tickColor": faint,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 12,
            "orient": "bottom",
            "columns": 1,
            "title": None,
            "titleFontWeight": "normal",
            "symbolType": "stroke",
            "symbolStrokeWidth": 3,
            "symbolOpacity": 1,
        },
    }


LIGHT = _theme("#1d2430", "#dfe3e8", None)
DARK = _theme("#e8eaee", "#3a414c", None)
PRINT = {**LIGHT, "background": "white"}
"""For pictures, whose surroundings are unknown."""
PAPER = {
    **_theme("black", "#dddddd", "white"),
    "font": "'Liberation Sans', Arial, Helvetica, sans-serif",
    "padding": 1,
}
"""For a paper: text in black, all of one size."""
PAPER["axis"] = {**PAPER["axis"], "labelFontSize": _FONT_SIZE, "titleFontSize": _FONT_SIZE}
