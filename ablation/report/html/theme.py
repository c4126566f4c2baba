"""How figures look: a Vega configuration for light surroundings, one for dark ones.

The baseline has the color of ink, since every other cell is read against it. The other colors are told apart by
people of any color vision (after Okabe and Ito 2008) and are readable on both surroundings.
"""

from typing import Any

TONES = {"good": "#0f8f6b", "bad": "#d1531d", "same": "#2878b5", "open": "#8b8f98"}
"""Colors of verdicts, on light and on dark."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_COLOURS = ["#2878b5", "#e07b1a", "#159c77", "#c0579a", "#b39700", "#45a5dd", "#c7432b", "#7a6fd0", "#7f8f3a"]
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2])
"""Past as many cells as there are colors, lines are told apart by dashes too."""
COLORS = len(_COLOURS) + 1


def _config(ink: str, faint: str, background: str | None) -> dict[str, Any]:
    return {
        "background": background,
        "font": _FONT,
        "lineBreak": "\n",
        "padding": 4,
        "view": {"stroke": None},
        "range": {"category": [ink, *_COLOURS]},
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


LIGHT = _config("#1d2430", "#dfe3e8", None)
DARK = _config("#e8eaee", "#3a414c", None)
PRINT = {**LIGHT, "background": "white"}
"""For pictures, which do not know where they will be put."""
