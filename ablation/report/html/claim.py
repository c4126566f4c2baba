"""A claim as a picture: each expected difference with its interval, and the values that would bear it out."""

import math
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import altair

from ...compare.claim import ClaimResult, ExpectationResult
from ...grid.schema import Answer
from ..claim import lines
from .figure import INK, TONES, Figure, Spec, rows, spec

_HEIGHT, _WIDTH = 34, 560
"""Pixels of one expectation."""
_LINE = 76
"""Characters of a title that fit above it."""
_COLORS: Mapping[Answer, str] = {
    "supported": TONES["good"],
    "contradicted": TONES["bad"],
    "not resolved": TONES["open"],
}


def claim_figure(result: ClaimResult) -> Figure | None:
    """One row for each expectation that has a difference; None where none has."""
    strips = [strip for finding in result.findings if (strip := _strip(finding)) is not None]
    if not strips:
        return None
    data = {name: values for strip in strips for name, values in strip.pop("datasets").items()}
    view = {"$schema": strips[0].pop("$schema"), "vconcat": strips, "datasets": data, "spacing": 20}
    caption = (
        "A dot is one seed, the bar the 95 % interval of their mean, uncorrected; what is expected is in the band."
    )
    return Figure("claim", result.statement, caption, {"": view}, of_cells=False)


def _strip(finding: ExpectationResult) -> Spec | None:
    contrast = finding.contrast
    if contrast.delta is None:
        return None
    shown = math.exp if finding.ratio else float
    values = [*contrast.differences, contrast.delta, *(contrast.interval or ())]
    margin = finding.margin or 0.0
    least, most = min(0.0, -margin, *values), max(0.0, margin, *values)
    room = 0.06 * (most - least) or 1.0
    ends = least - room, most + room
    band = _expected(finding.expected, margin, ends)
    scale = altair.Scale(domain=[shown(end) for end in ends], nice=False, type="log" if finding.ratio else "linear")
    sign = "''" if finding.ratio else "(datum.value > 0 ? '+' : '')"
    axis = altair.Axis(
        tickCount=6, title=None, format=",.3~r", labelExpr=f"{sign} + datum.label", labelOverlap="greedy"
    )
    x, color = altair.X("value:Q", scale=scale, axis=axis), _COLORS[finding.answer]
    low, high = contrast.interval or (contrast.delta, contrast.delta)
    layers: list[Any] = [
        altair.Chart(rows([{"value": shown(band[0]), "to": shown(band[1])}]))
        .mark_rect(opacity=0.13, color=TONES["same"])
        .encode(x=x, x2="to:Q"),
        altair.Chart(rows([{"value": shown(0.0)}])).mark_rule(strokeDash=[3, 3]).encode(x=x),
        altair.Chart(rows([{"value": shown(each)} for each in contrast.differences]))
        .mark_circle(size=22, opacity=0.5, yOffset=9)
        .encode(x=x),
        altair.Chart(rows([{"value": shown(low), "to": shown(high)}]))
        .mark_rule(strokeWidth=3, strokeCap="round", color=color)
        .encode(x=x, x2="to:Q"),
        altair.Chart(rows([{"value": shown(contrast.delta)}])).mark_tick(thickness=3, size=13, color=color).encode(x=x),
    ]
    compared, _, expected = lines(finding)[0].rpartition(": ")
    title = altair.TitleParams(
        [*wrap(compared, _LINE), expected], anchor="start", fontSize=12, fontWeight="normal", color=INK
    )
    return {**spec(altair.layer(*layers).properties(title=title), height=_HEIGHT), "width": _WIDTH}


def _expected(expected: str, margin: float, ends: tuple[float, float]) -> tuple[float, float]:
    """From where to where a difference is as expected, up to the ends of the axis."""
    least, most = ends
    bands = {
        "higher": (margin, most),
        "lower": (least, -margin),
        "equivalent": (-margin, margin),
        "not higher": (least, margin),
        "not lower": (-margin, most),
    }
    return bands[expected]
