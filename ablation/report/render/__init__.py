"""The comparison table in each format, a module per format. Renderers lay a ``TableData`` out and compute nothing."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..table import TableData
from . import csv, json, latex, markdown

FORMATS: Mapping[str, Callable[[TableData], str]] = MappingProxyType(
    {"markdown": markdown.render, "csv": csv.render, "json": json.render, "latex": latex.render}
)
"""The formats of ``ablate table --format`` that are text; ``rich`` is in ``terminal``, which needs a width."""


def render(table: TableData, format: str) -> str:
    """The table in one of ``FORMATS``, as text that ends in a newline."""
    return FORMATS[format](table)
