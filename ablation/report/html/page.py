"""The page: one HTML file that contains everything it needs and loads nothing.

Text from outside reaches it in two ways only: escaped by the template, and as JSON in a block that the browser does not
run. The content security policy allows the scripts and the style of the page by their hashes, and nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from ...compare.measures import LENSES
from ...compare.records import Comparison
from ...store.files import unwritable
from .. import caveats, labels
from ..entries import Entry
from ..footnotes import LEGEND, reading, tested
from ..inside import findings
from ..missing import missing
from ..provenance import not_matched
from ..table import FilledColumn
from . import figure, forest, lines
from .appendix import methods, runs_by_cell
from .data import ReportData
from .figure import Figure
from .inside_figures import knockouts, pruning
from .learning import learning_curves
from .tradeoff import tradeoff
from .tuning import tuning

_HERE = Path(__file__).parent
_INSIDE = "Inside the trained models"
Sections = Sequence[tuple[str, Sequence[Figure]]]


def write_page(
    manifest: Mapping[str, Any],
    comparison: Comparison,
    root: Path,
    file: Path,
    pictures: Path | None = None,
    paper: bool = False,
) -> list[Path]:
    """Write the page of a grid to ``file``, and its figures into ``pictures``; returns the files of the figures.

    ``paper``: the figures are PDF in the size of a paper's column instead of SVG and PNG. ``root`` is ``runs/``.
    Errors: StorageError.
    """
    data = ReportData(manifest, comparison, root)
    with debug_mode(False):  # altair checks every part of every figure many times over; the tests do it once
        by_section = sections(data)
    text = render(data, by_section, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from None
    if pictures is None:
        return []
    try:
        return figure.write([figure for _, of_section in by_section for figure in of_section], pictures, paper)
    except OSError as error:
        raise unwritable(pictures, error) from None


def sections(data: ReportData) -> Sections:
    """The figures that the grid has data for, by the heading of their section."""
    possible: list[tuple[str, list[Figure | None]]] = [
        ("Differences to the baseline", [*forest.lenses(data)]),
        ("Learning curves", [*learning_curves(data)]),
        ("Length", [lines.position(data), lines.length(data)]),
        ("Factors together", [lines.interaction(data), forest.effects(data)]),
        ("Step by step", [forest.steps(data)]),
        ("Learning rate", [lines.learning_rate(data)]),
        ("Tuning", [tuning(data)]),
        ("Depth", [lines.depth(data)]),
        ("Cost", [tradeoff(data)]),
        (_INSIDE, [] if data.inside is None else [knockouts(data.inside), pruning(data.inside)]),
    ]
    by_section = [(title, [figure for figure in figures if figure is not None]) for title, figures in possible]
    return [(title, figures) for title, figures in by_section if figures]


def render(data: ReportData, by_section: Sections, file: Path) -> str:
    """The text of the page that will be written to ``file``, which its links are relative to."""
    comparison = data.comparison
    figures = [figure for _, of_section in by_section for figure in of_section]
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    scripts = [vega(), (_HERE / "draw.js").read_text(encoding="utf-8")] if figures else []
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    template = environment.from_string((_HERE / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=labels.plain(comparison.grid),
        policy=policy(style, scripts),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=json_block(figure_data(figures)),
        question=labels.plain(comparison.question or ""),
        summary=data.table.summary,
        lead=f"{labels.heading(comparison)} · {labels.size(comparison)}",
        overview=_stacked(data, data.shown_table.shown("always")),
        cut=data.cut,
        in_full=_in_full(data),
        unmatched=not_matched(comparison),
        sections=by_section,
        inside=_inside(data),
        figures=figures,
        runs_by_cell=runs_by_cell(data, file),
        methods=methods(data),
        notes=[
            *reading(comparison),
            *tested(comparison, LEGEND, tests=False),
            *caveats.notes(comparison),
            *missing(comparison),
        ],
    )


def _inside(data: ReportData) -> list[tuple[str, list[str]]]:
    """By cell, what was found inside its trained models; empty where nobody has looked."""
    found = data.inside
    return [] if found is None else [(labels.plain(cell.label), findings(cell, found)) for cell in found.cells]


@dataclass(frozen=True)
class Group:
    """What all columns of one measure say, stacked in one column; a row holds (kind, entry)."""

    lens: str
    title: str
    rows: Sequence[Sequence[tuple[str, Entry]]]


@dataclass(frozen=True)
class PageTable:
    """``rows`` are (name of the cell, mark); ``lenses`` are (title, number of groups), above the groups."""

    rows: Sequence[tuple[str, str]]
    lenses: Sequence[tuple[str, int]]
    groups: Sequence[Group]


def _stacked(data: ReportData, columns: Sequence[FilledColumn]) -> PageTable:
    """Neighboring columns of one measure as one group."""
    groups = []
    for (lens, name), of_measure in groupby(columns, key=lambda column: (column.lens, column.name)):
        together = list(of_measure)
        title = together[0].title if together[0].kind != "verdict" else labels.metric_name(name)
        entries = [[(column.kind, entry) for entry in column.entries] for column in together]
        groups.append(Group((lens or "").capitalize(), title, list(zip(*entries, strict=True))))
    lenses = [(lens, len(list(of_lens))) for lens, of_lens in groupby(groups, key=lambda group: group.lens)]
    rows = [(data.names[row.cell.label], row.mark) for row in data.shown_table.rows]
    return PageTable(rows, lenses, groups)


def _in_full(data: ReportData) -> dict[str, PageTable]:
    """Everything that was measured, by lens, of the cells that are shown."""
    columns = data.shown_table.shown("in full")
    in_full = {}
    for lens in LENSES:
        names = list(dict.fromkeys(column.name for column in columns if column.lens == lens))
        of_lens = [column for name in names for column in columns if (column.lens, column.name) == (lens, name)]
        if of_lens:
            in_full[lens.capitalize()] = _stacked(data, of_lens)
    return in_full


def figure_data(figures: Sequence[Figure]) -> dict[str, Any]:
    """The specifications of all figures and their themes, as ``draw.js`` reads them."""
    return {
        "figures": {one.name: list(one.views.values()) for one in figures},
        "themes": {"light": figure.LIGHT, "dark": figure.DARK},
    }


def json_block(content: Any) -> Markup:
    """Data as JSON without ``<``, which could end the block or start a comment."""
    return Markup(json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed with an interpreter of expressions that needs no eval."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def policy(style: str, scripts: Sequence[str]) -> str:
    """The content security policy that allows this style and these scripts, and nothing else."""
    allow_scripts = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allow_scripts}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
