"""The comparison as people and programs want it: each format is a module that renders a ``Comparison``.

``terminal`` needs rich and a width and is imported by itself; the others give text.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..compare.records import Comparison
from .render import csv as comma_separated
from .render import json as document
from .render import latex, markdown

TEXT_FORMATS: Mapping[str, Callable[[Comparison], str]] = MappingProxyType(
    {"markdown": markdown.render, "csv": comma_separated.render, "json": document.render, "latex": latex.render}
)
"""What ``ablate table --format`` offers besides the terminal's own."""
