"""A flame graph as an SVG: every scope is a bar as wide as its time, below the scope that contains it."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

WIDTH, ROW, MARGIN = 1200.0, 18.0, 10.0
LETTER = 6.2
"""Width of a letter of the labels, in pixels; what does not fit is in the tooltip alone."""

COLORS = {
    "embedding": "#8dd3c7",
    "position": "#bebada",
    "norms": "#ffed6f",
    "projections": "#80b1d3",
    "attention": "#fb8072",
    "mixing": "#fdb462",
    "feedforward": "#b3de69",
    "residual": "#fccde5",
    "lm_head": "#bc80bd",
    "loss": "#ccebc5",
    "cache": "#e5c494",
    "optimizer": "#b3b3b3",
    "other": "#e8e8e8",
}


def draw(title: str, steps: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The SVG of ``steps`` by name, each a list of nested scopes from ``profile.tree``."""
    bars, top = [], MARGIN + 2 * ROW
    for name, scopes in steps.items():
        seconds = sum(scope["seconds"] for scope in scopes)
        root = {"name": name, "kind": "other", "seconds": seconds, "inside": scopes}
        bars += list(_bars(root, MARGIN, top, WIDTH / seconds if seconds else 0.0, seconds))
        top += ROW * (_depth(root) + 1)
    width, height = WIDTH + 2 * MARGIN, top + MARGIN
    heading = f'<text x="{MARGIN}" y="{MARGIN + 14}" font-size="14">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{heading}\n' + "\n".join(bars) + "\n</svg>\n"
    )


def _bars(scope: Mapping[str, Any], left: float, top: float, scale: float, whole: float) -> Iterator[str]:
    width = scope["seconds"] * scale
    text = f"{scope['name']}: {1000 * scope['seconds']:.3g} ms, {scope['seconds'] / whole if whole else 0:.1%}"
    yield (
        f'<g><title>{escape(text)}</title><rect x="{left:.2f}" y="{top:g}" width="{width:.2f}" height="{ROW - 1:g}" '
        f'fill="{COLORS[scope["kind"]]}"/>{_label(scope["name"], text, left, top, width)}</g>'
    )
    for inner in scope["inside"]:
        yield from _bars(inner, left, top + ROW, scale, whole)
        left += inner["seconds"] * scale


def _label(name: str, full: str, left: float, top: float, width: float) -> str:
    fitting = next((text for text in (full, name) if len(text) * LETTER < width - 4), None)
    return "" if fitting is None else f'<text x="{left + 3:.2f}" y="{top + 12.5:g}">{escape(fitting)}</text>'


def _depth(scope: Mapping[str, Any]) -> int:
    return 1 + max(map(_depth, scope["inside"]), default=0)
