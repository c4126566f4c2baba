"""The comparison as one JSON document, for programs: its keys are stable, its numbers are not rounded.

It is strictly JSON (no NaN, no infinity) and ASCII, so any pipe carries it. A label is given as it is in the grid.
"""

import json
import math
from dataclasses import asdict
from typing import Any

from ...compare.fairness import tuning, unmatched
from ...compare.power import minimum_detectable_difference, observed_rho
from ...compare.records import CellComparison, Comparison, Effect, MetricComparison, Step
from ...stats.contrast import Contrast
from ...stats.verdict import Verdict
from ..footnotes import cell_note
from ..labels import stability
from ..provenance import records
from ..summary import summary

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
        "summary": summary(comparison),
        "primary": dict(comparison.primary),
        "interim_looks": list(comparison.interim_looks),
        "measures": {name: asdict(measure) for name, measure in comparison.measures.items()},
        "bench": _strict(comparison.bench),
        "interactions": [_effect(effect) for effect in comparison.interactions],
        "main_effects": [_effect(effect) for effect in comparison.effects],
        "main_effects_note": comparison.effects_note,
        "design": _strict(comparison.design),
        "steps": [_step(step) for step in comparison.steps],
        "smallest_detectable": minimum_detectable_difference(comparison),
        "observed_rho": observed_rho(comparison),
        "tuning": asdict(tuning(comparison)),
        "record": records(comparison),
    }


def _cell(comparison: Comparison, cell: CellComparison) -> dict[str, Any]:
    return {
        "label": cell.label,
        "settings": _strict(cell.settings),
        "run_ids": [run.id for run in cell.results],
        "n": len(cell.results),
        "completed": cell.count("completed"),
        "diverged": cell.count("diverged"),
        "failed": cell.count("failed"),
        "missing": cell.count("missing"),
        "note": cell_note(comparison, cell),
        "standing": stability(cell) or None,
        "unmatched": unmatched(comparison, cell),
        "metrics": {name: _metric(metric) for name, metric in cell.metrics.items()},
    }


def _metric(metric: MetricComparison) -> dict[str, Any]:
    return {
        "mean": metric.mean,
        "sd": metric.sd,
        "values": list(metric.values),
        **_contrast(metric.contrast),
        "verdict": metric.verdict.label if metric.verdict else None,
        "judgment": _judgement(metric.verdict),
    }


def _judgement(verdict: Verdict | None) -> dict[str, Any] | None:
    """What a verdict rests on; differences are turned so that more is better."""
    if verdict is None:
        return None
    return {**asdict(verdict), "interval": list(verdict.interval) if verdict.interval else None,
            "more_seeds": list(verdict.more_seeds) if verdict.more_seeds else None,
            "sentence": verdict.sentence}  # fmt: skip


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "factor": effect.path,
        "name": effect.name,
        "level": effect.level,
        "baseline": effect.baseline,
        "cells": effect.cells,
        "given": None if effect.given is None else asdict(effect.given),
        "verdict": effect.verdict.label if effect.verdict else None,
        "metrics": {
            name: {**_contrast(contrast), "note": contrast.note} for name, contrast in effect.contrasts.items()
        },
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "change": step.change,
        "cell": step.cell,
        "before": step.before,
        "metrics": {name: {**_contrast(contrast), "note": contrast.note} for name, contrast in step.contrasts.items()},
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
