"""Figure: one question in one or more views, each a Vega-Lite specification; and the style of all figures.

The same specification is interactive in the page and becomes SVG, PNG and PDF without a browser.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

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
_PAPER_NAMES, _PAPER_AXIS = 0.45, 6
"""The part of such a figure that names beside it take at most, and characters that the y axis takes."""
CHARACTER = 6.6
"""Pixels of a character of a label, on average."""
_WIDEST_LABEL = 230
_LONGEST_NAME = 80

TONES: dict[Tone, str] = {"good": "#0f8f6b", "bad": "#d1531d", "same": "#2878b5", "open": "#8b8f98"}
"""Colors of verdicts, on light and on dark."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
PLAIN = ",.4~r"
"""A format of d3: four significant digits, never an exponent."""
_LOGARITHMIC = 10
_ROOM = {"left": 24, "right": 12, "top": 4, "bottom": 4}
"""Around an SVG: whoever shows it takes a font of their own, which may be wider."""
_MILLIONS = ((1e12, "trillions"), (1e9, "billions"), (1e6, "millions"))


@dataclass(frozen=True)
class Figure:
    """``name`` is that of its files; ``views`` are by their title, the first is shown at first."""

    name: str
    title: str
    caption: str
    views: Mapping[str, Spec]
    of_cells: bool = True
    """Whether its rows are cells, which the choice of rows in the table leaves out."""


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
    return [altair.Tooltip(f"{name}:Q", title=title, format=PLAIN) for name, title in titles.items()]


def is_logarithmic(lowest: float, highest: float) -> bool:
    """Whether the axis of these values is: where the largest is at least ten times the smallest."""
    return lowest > 0 and highest >= _LOGARITHMIC * lowest


def large_axis(values: Iterable[float], title: str, **more: Any) -> tuple[altair.Axis, str]:
    """An axis of large numbers and its title: they are written out, from a million on in millions and so forth."""
    largest = max(map(abs, values), default=0.0)
    size, word = next(((size, f", {word}") for size, word in _MILLIONS if largest >= size), (1.0, ""))
    labels = f"format(datum.value / {size:.0f}, ',.6~r')"
    return altair.Axis(labelExpr=labels, tickCount=5, labelOverlap="greedy", **more), f"{title}{word}"


def spec(chart: Drawing, height: int = 280, labels: int = 0) -> Spec:
    """The specification of a chart that is as wide as its container, with the names of lines or rows beside it.

    ``labels`` are the pixels of the longest name; the page takes fewer where it is narrow.
    """
    specification: Spec = chart.properties(width="container", height=height).to_dict(validate=False)
    del specification["config"]  # that of altair, in place of which the page and pictures have the theme below
    specification["datasets"] = {str(name): name.values for name in _names(specification)}
    if labels:
        specification.setdefault("params", []).append({"name": "label_width", "value": labels})
    return specification


def _names(part: Any) -> Iterator[_Named]:
    """The names of the data sets in a specification."""
    if isinstance(part, _Named):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _names(inner)


def shortened(text: str, width: str) -> str:
    """An expression: the expression ``text`` without its middle where it is wider than the expression ``width``."""
    characters = f"max(10, floor(({width}) / {CHARACTER}))"
    half = f"floor({characters} / 2) - 1"
    cut = f"slice({text}, 0, {half}) + '\u2026' + slice({text}, -({half}))"
    return f"length({text}) > {characters} ? {cut} : {text}"


def label_width(labels: Iterable[str]) -> int:
    """Pixels for the longest of the labels."""
    return min(_WIDEST_LABEL, round(12 + CHARACTER * max(map(len, labels), default=0)))


def zoom(*encodings: Literal["x", "y"]) -> altair.Parameter:
    """Dragging moves the axes; turning the wheel with the control key zooms, without it the page scrolls."""
    wheel = "wheel![event.ctrlKey || event.metaKey]"
    return altair.selection_interval(bind="scales", encodings=list(encodings), zoom=wheel, name="zoom")


def pointed_at() -> altair.Parameter:
    """The cell under the pointer."""
    return altair.selection_point(fields=["cell"], on="pointerover", clear="pointerout", name="pointed")


def write(figures: Sequence[Figure], directory: Path, paper: bool = False) -> list[Path]:
    """Every view of every figure as SVG, PNG and PDF, or for a ``paper`` as PDF in its size. Errors: OSError."""
    import vl_convert

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for figure in figures:
        for stem, view in zip(file_names(figure), figure.views.values(), strict=True):
            if paper:
                files.append(directory / f"{stem}.pdf")
                files[-1].write_bytes(_for_paper(view))
                continue
            width = {} if "vconcat" in view else {"width": PICTURE_WIDTH}  # parts have widths of their own
            picture = {**view, **width, "config": PRINT}
            picture = json.loads(json.dumps(picture).replace(json.dumps(INK), json.dumps(PRINTED_INK)))
            svg, png, pdf = (directory / f"{stem}.{ending}" for ending in ("svg", "png", "pdf"))
            svg.write_text(vl_convert.vegalite_to_svg({**picture, "padding": _ROOM}), encoding="utf-8")
            png.write_bytes(vl_convert.vegalite_to_png(picture, scale=_PICTURE_SCALE))
            pdf.write_bytes(vl_convert.vegalite_to_pdf(picture))
            files += [svg, png, pdf]
    return files


def _for_paper(view: Spec) -> bytes:
    """A view as PDF, as wide as a column with its axes, with the font size of a paper and its fonts embedded.

    It is rendered as elsewhere and scaled as a whole, so that lines and marks keep their proportions to the text.
    """
    import vl_convert

    scale = _PAPER_FONT / _FONT_SIZE
    width = round(PAPER_WIDTH / scale)
    fitted = {"width": width, "autosize": {"type": "fit-x", "contains": "padding"}, "config": PAPER}
    picture = {**narrowed(view, width), **fitted}
    picture = json.loads(json.dumps(picture).replace(json.dumps(INK), json.dumps("black")))
    svg = vl_convert.vegalite_to_svg(picture)
    size = re.match(r'<svg\b[^>]* width="([\d.]+)" height="([\d.]+)"', svg)
    assert size is not None
    begin = size[0].replace(f'width="{size[1]}" height="{size[2]}"',
                            f'width="{scale * float(size[1]):g}" height="{scale * float(size[2]):g}"')  # fmt: skip
    return vl_convert.svg_to_pdf(begin + svg[size.end() :])


def narrowed(view: Spec, width: int) -> Spec:
    """The view with shorter names beside it, and titles of the x axis in lines that fit below what is left."""
    narrow = deepcopy(view)
    named = [row for of_set in narrow["datasets"].values() for row in of_set if "label" in row]
    names = 0
    for parameter in narrow.get("params", ()):
        if parameter["name"] == "label_width" and parameter["value"] > (most := round(_PAPER_NAMES * width)):
            short = _levels_alone({row["label"] for row in named})
            for row in named:
                row["label"] = short[row["label"]]
            parameter["value"] = min(most, label_width(short.values()))
        names = parameter["value"] if parameter["name"] == "label_width" else names
    characters = int((width - names) / CHARACTER) - _PAPER_AXIS
    for x in _channels(narrow, "x"):
        if title := x.get("title"):
            lines = [title] if isinstance(title, str) else title
            x["title"] = [part for line in lines for part in textwrap.wrap(line, characters)]
    return narrow


def _levels_alone(labels: Iterable[str]) -> dict[str, str]:
    """``rope maxout`` for ``position=rope feedforward=maxout``, where no two would be alike."""
    short = {label: re.sub(r"(?:^|(?<=[^,] ))[\w.]+(?:=|: )", "", label) for label in labels}
    return short if len(set(short.values())) == len(short) else {label: label for label in labels}


def _channels(part: Any, name: str) -> Iterator[Spec]:
    """Every encoding of that channel in a specification."""
    if isinstance(part, dict):
        if isinstance(channel := part.get("encoding", {}).get(name), dict):
            yield channel
        for inner in (each for key in ("layer", "vconcat", "hconcat") for each in part.get(key, ())):
            yield from _channels(inner, name)


def file_names(figure: Figure) -> list[str]:
    """The name of a file for each view, without its ending: ``forest_quality_bits_character``."""
    names: list[str] = []
    for title in figure.views:
        words = re.sub(r"[^A-Za-z0-9.@]+", "_", title).strip("_.")[:_LONGEST_NAME]
        name = f"{figure.name}_{words}" if words else figure.name
        # A file system may take two names that differ in case alone for one.
        clashes = name.lower() in {other.lower() for other in names}
        names.append(f"{name}_{len(names) + 1}" if clashes else name)
    return names


_FAINT = "#8b8f98"


def _theme(ink: str, background: str | None) -> dict[str, Any]:
    """A Vega configuration with one color for text, baseline and axes."""
    return {
        "background": background,
        "font": _FONT,
        "lineBreak": "\n",
        "padding": 4,
        "view": {"stroke": None},
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
            "gridColor": _FAINT,
            "gridOpacity": 0.25,
            "domainColor": _FAINT,
            "tickColor": _FAINT,
        },
        "axisXDiscrete": {"labelAngle": 0},
        "legend": {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal", "orient": "top"},
    }


INK = "currentColor"
"""That of the text around a figure, light or dark."""
PRINTED_INK = "#1d2430"
PAGE = _theme(INK, None)
PRINT = _theme(PRINTED_INK, "white")
"""For pictures, whose surroundings are unknown."""
PAPER = {
    **_theme("black", "white"),
    "font": "'Liberation Sans', Arial, Helvetica, sans-serif",
    "padding": {"left": 1, "right": 14, "top": 1, "bottom": 1},  # half of the last label of an axis is right of it
}
"""For a paper: text in black, all of one size."""
PAPER["axis"] = {**PAPER["axis"], "labelFontSize": _FONT_SIZE, "titleFontSize": _FONT_SIZE}
PAPER["axis"] |= {"labelFlush": False, "labelSeparation": 8}
PAPER["axisXDiscrete"] = {"labelAngle": -30}
