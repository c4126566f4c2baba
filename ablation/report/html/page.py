"""The page: one HTML file that holds everything it needs and asks nobody for anything.

What comes from outside reaches it in two ways only: as text that the template escapes, and as JSON in a block that the
browser does not run. The policy allows the scripts and the style of the page by their hashes, and nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...compare.families import best
from .. import labels
from ..footnotes import LEGEND, missing, reading, tested
from ..provenance import matching
from ..summary import summary
from . import depth, forest, interaction, learning, length, position, runs, sensitivity, table, theme, tradeoff
from .data import ReportData
from .figure import Figure
from .methods import facts

_HERE = Path(__file__).parent
Sections = Sequence[tuple[str, Sequence[Figure]]]


def sections(material: ReportData) -> Sections:
    """All figures that there is something to draw for, under their headings."""
    found: list[tuple[str, list[Figure | None]]] = [
        ("Differences to the baseline", [*forest.forest(material)]),
        ("Learning curves", [*learning.learning(material)]),
        ("Length", [position.position(material), length.length(material)]),
        ("Factors together", [interaction.interaction(material), forest.effects(material)]),
        ("Step by step", [forest.steps(material)]),
        ("Learning rate", [sensitivity.sensitivity(material)]),
        ("Depth", [depth.depth(material)]),
        ("Cost", [tradeoff.tradeoff(material)]),
    ]
    kept = [(title, [figure for figure in figures if figure is not None]) for title, figures in found]
    return [(title, figures) for title, figures in kept if figures]


def render(material: ReportData, drawn: Sections, file: Path) -> str:
    """The text of the page that will be written to ``file``, which its links are relative to."""
    comparison = material.comparison
    figures = [figure for _, found in drawn for figure in found]
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    scripts = [_vega(), (_HERE / "draw.js").read_text(encoding="utf-8")] if figures else []
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    template = environment.from_string((_HERE / "template.html").read_text(encoding="utf-8"))
    return template.render(
        title=labels.plain(comparison.grid),
        policy=_policy(style, scripts),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=_data(figures),
        summary=summary(comparison),
        lead=f"{labels.heading(comparison)} · {labels.size(comparison)}",
        overview=table.overview(material),
        standing=any(labels.stability(cell) for cell in comparison.cells),
        bold=bool(best(comparison)),
        unmatched=matching(comparison),
        in_full=table.in_full(material),
        sections=drawn,
        figures=figures,
        groups=runs.groups(material, file),
        facts=facts(material),
        notes=[*reading(comparison), *tested(comparison, LEGEND, tests=False), *missing(comparison)],
    )


def _data(figures: Sequence[Figure]) -> Markup:
    """The specifications of all figures as JSON without a character that ends a script or starts a comment."""
    content: dict[str, Any] = {
        "figures": {figure.name: list(figure.views.values()) for figure in figures},
        "themes": {"light": theme.LIGHT, "dark": theme.DARK},
    }
    return Markup(json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed with the interpreter of expressions that needs no eval."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _policy(style: str, scripts: Sequence[str]) -> str:
    allow_scripts = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allow_scripts}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
