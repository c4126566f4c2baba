"""The page: one HTML file that contains everything it needs and loads nothing.

Text from outside reaches it in two ways only: escaped by the template, and as compressed JSON in a block that the
browser does not run. The content security policy allows the scripts and the style of the page by their hashes, and
nothing else; so it does the library of the figures, which is compressed too. The page would be three times as large.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from ...compare.records import Comparison
from ...store.files import unwritable
from .. import caveats, labels
from ..footnotes import LEGEND, reading, tested
from ..missing import missing
from ..provenance import not_matched
from . import figure, forest, lines
from .appendix import baseline_settings, methods, runs_by_cell
from .data import ReportData
from .factors import factors
from .figure import Figure
from .learning import learning_curves
from .overview import choices, in_full, overview, verdicts
from .tradeoff import tradeoff
from .tuning import tuning

_HERE = Path(__file__).parent
Sections = Sequence[tuple[str, Sequence[Figure]]]


def write_page(
    manifest: Mapping[str, Any], comparison: Comparison, root: Path, file: Path, pictures: Path | None = None
) -> list[Path]:
    """Write the page of a grid to ``file``, and its figures into ``pictures``; returns the files of the figures.

    ``root`` is ``runs/``. Errors: StorageError.
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
        return figure.write([figure for _, of_section in by_section for figure in of_section], pictures)
    except OSError as error:
        raise unwritable(pictures, error) from None


def sections(data: ReportData) -> Sections:
    """The figures that the grid has data for, by the heading of their section."""
    possible: list[tuple[str, list[Figure | None]]] = [
        ("Differences to the baseline", [*forest.lenses(data)]),
        ("Factors together", [factors(data), lines.interaction(data), forest.effects(data)]),
        ("Learning curves", [*learning_curves(data)]),
        ("Length", [lines.position(data), lines.length(data)]),
        ("Step by step", [forest.steps(data)]),
        ("Learning rate", [lines.learning_rate(data)]),
        ("Tuning", [tuning(data)]),
        ("Depth", [lines.depth(data)]),
        ("Cost", [tradeoff(data)]),
    ]
    by_section = [(title, [figure for figure in figures if figure is not None]) for title, figures in possible]
    return [(title, figures) for title, figures in by_section if figures]


def render(data: ReportData, by_section: Sections) -> str:
    """The text of the page; it refers to no file, so that it can be sent to others alone."""
    comparison, table = data.comparison, overview(data)
    figures = [figure for _, of_section in by_section for figure in of_section]
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    scripts = [(_HERE / name).read_text(encoding="utf-8") for name in ("table.js", "figures.js")[: 1 + bool(figures)]]
    library, compressed = _vega() if figures else ("", Markup())
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    template = environment.from_string((_HERE / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=labels.plain(comparison.grid),
        policy=_policy(style, [*scripts, library] if figures else scripts),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        library=compressed,
        data=_data(figures) if figures else Markup(),
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


def _data(figures: Sequence[Figure]) -> Markup:
    """What the script of the figures needs: their specifications with the names of their files, and themes."""
    content = {
        "figures": {
            one.name: [
                {"file": file, "spec": _rounded(view)}
                for file, view in zip(figure.file_names(one), one.views.values(), strict=True)
            ]
            for one in figures
        },
        "themes": {"page": figure.PAGE, "print": figure.PRINT},
        "ink": {"page": figure.INK, "print": figure.PRINTED_INK},
    }
    return _compressed(json.dumps(content, allow_nan=False, separators=(",", ":")))


def _rounded(value: Any) -> Any:
    """With six digits of each number: more than anybody sees would only make the page large."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _compressed(text: str) -> Markup:
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


@cache
def _vega() -> tuple[str, Markup]:
    """Vega, Vega-Lite and Vega-Embed with an interpreter of expressions that needs no eval; and that compressed."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle, _compressed(bundle)


def _policy(style: str, scripts: Sequence[str]) -> str:
    allow_scripts = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allow_scripts}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
