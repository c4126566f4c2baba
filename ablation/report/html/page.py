"""The page: one HTML file that contains everything it needs and loads nothing.

Text from outside reaches it in two ways only: escaped by the template, and as compressed JSON in a block that the
browser does not run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode

from ...compare.records import Comparison
from ...store.files import unwritable
from .. import caveats, labels
from ..footnotes import LEGEND, reading, tested
from ..inside import findings
from ..missing import missing
from ..provenance import not_matched
from . import figure, forest, lines
from .appendix import baseline_settings, methods, runs_by_cell
from .data import ReportData
from .embedded import embedded, template
from .factors import factors
from .figure import Figure
from .inside_figures import knockouts, pruning
from .learning import learning_curves
from .overview import choices, in_full, overview, verdicts
from .tradeoff import tradeoff
from .tuning import tuning

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
    text = render(data, by_section)
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
        ("Differences from the baseline", [*forest.lenses(data)]),
        ("Factors together", [factors(data), lines.interaction(data), forest.effects(data)]),
        ("Learning curves", [*learning_curves(data)]),
        ("Length", [lines.position(data), lines.length(data)]),
        ("Step by step", [forest.steps(data)]),
        ("Learning rate", [lines.learning_rate(data)]),
        ("Tuning", [tuning(data)]),
        ("Depth", [lines.depth(data)]),
        ("Cost", [tradeoff(data)]),
        (_INSIDE, [] if data.inside is None else [knockouts(data.inside), pruning(data.inside)]),
    ]
    by_section = [(title, [figure for figure in figures if figure is not None]) for title, figures in possible]
    return [(title, figures) for title, figures in by_section if figures]


def render(data: ReportData, by_section: Sections) -> str:
    """The text of the page; it refers to no file, so that it can be sent to others alone."""
    comparison, table = data.comparison, overview(data)
    figures = [figure for _, of_section in by_section for figure in of_section]
    return template("report.html").render(
        **embedded(figures, ["style.css"], ["table.js"]),
        title=labels.plain(comparison.grid),
        question=labels.plain(comparison.question or ""),
        summary=data.table.summary,
        lead=f"{labels.heading(comparison)} · {labels.size(comparison)}",
        overview=table,
        choices=choices(data),
        verdicts=verdicts(table),
        cut=data.cut,
        in_full=in_full(data),
        unmatched=not_matched(comparison),
        sections=by_section,
        inside=_inside(data),
        figures=figures,
        runs_by_cell=runs_by_cell(data),
        methods=methods(data),
        grid_file=data.grid_file,
        settings=baseline_settings(data),
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
