"""The comparison table in each format, a module per format. Renderers lay a ``TableData`` out and compute nothing."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ...compare.two_studies import TwoStudies
from ...errors import InputError, nearest
from ..table import TableData
from ..two_studies import sections
from . import csv, json, latex, markdown

FORMATS: Mapping[str, Callable[[TableData], str]] = MappingProxyType(
    {"markdown": markdown.render, "csv": csv.render, "json": json.render, "latex": latex.render}
)
"""The formats of ``ablate table --format`` that are text; ``rich`` is in ``terminal``, which needs a width."""


def known_format(format: str) -> str:
    """The name of a format of tables. Errors: InputError for another."""
    if format not in FORMATS:
        raise InputError(f"format: {format!r} is not known; allowed: {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    return format


def render(table: TableData, format: str) -> str:
    """The table in one of ``FORMATS``, as text that ends in a newline."""
    return FORMATS[format](table)


def render_two_studies(result: TwoStudies, format: str) -> str:
    """The comparison of two studies in one of ``FORMATS``, as text that ends in a newline."""
    if format == "csv":
        return csv.render_two_studies(result)
    written = sections(result)
    if format == "json":
        return json.render_two_studies(result, written.summary)
    return {"markdown": markdown, "latex": latex}[format].render_sections(written)
