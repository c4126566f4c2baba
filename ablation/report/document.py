"""The comparison as one JSON document, for programs: its keys are stable, its numbers are not rounded.

It is strictly JSON (no NaN, no infinity) and ASCII, so any pipe carries it. A label is given as it is in the grid.
"""

import json
import math
from typing import Any

from ..analysis import CellComparison, Comparison, Contrast, Effect, MetricComparison
from .words import cell_note

SCHEMA = 1


def render(comparison: Comparison) -> str:
    """The document as text that ends in a newline."""
    return json.dumps(document(comparison), allow_nan=False, indent=2) + "\n"


def document(comparison: Comparison) -> dict[str, Any]:
    """The document as plain objects; the baseline is the first cell."""
    return {
        "schema": SCHEMA,
        "grid": comparison.grid,
        "baseline": comparison.baseline.label,
        "seeds": len(comparison.seeds),
        "metric": comparison.metric,
        "better": comparison.better,
        "cells": [_cell(comparison, cell) for cell in comparison.cells],
        "main_effects": [_effect(effect) for effect in comparison.effects],
        "main_effects_note": comparison.effects_note,
    }


def _cell(comparison: Comparison, cell: CellComparison) -> dict[str, Any]:
    return {
        "label": cell.label,
        "settings": _strict(cell.settings),
        "run_ids": [run.id for run in cell.outcomes],
        "n": len(cell.outcomes),
        "completed": cell.count("completed"),
        "diverged": cell.count("diverged"),
        "failed": cell.count("failed"),
        "missing": cell.count("missing"),
        "note": cell_note(comparison, cell),
        "metrics": {name: _metric(metric) for name, metric in cell.metrics.items()},
    }


def _metric(metric: MetricComparison) -> dict[str, Any]:
    return {
        "mean": metric.mean,
        "sd": metric.sd,
        "values": list(metric.values),
        **_contrast(metric.contrast),
        "verdict": None,  # a verdict needs a margin that was declared before the runs
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "factor": effect.path,
        "name": effect.name,
        "level": effect.level,
        "baseline": effect.baseline,
        "cells": effect.cells,
        "metrics": {
            name: {**_contrast(contrast), "note": contrast.note} for name, contrast in effect.contrasts.items()
        },
    }


def _contrast(contrast: Contrast | None) -> dict[str, Any]:
    if contrast is None:
        return {"delta": None, "ci": None, "p": None}
    return {"delta": contrast.delta, "ci": list(contrast.interval) if contrast.interval else None, "p": contrast.p}


def _strict(value: Any) -> Any:
    """The settings of a cell come from YAML, which has numbers that JSON lacks; they become their names."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
