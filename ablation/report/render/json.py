"""The table as one JSON document for programs: its keys are stable, its numbers are not rounded.

It is strict JSON (no NaN, no infinity) in ASCII. Labels are as in the grid file.
"""

import json
import math
from dataclasses import asdict
from typing import Any

from ...compare.over_examples import over_examples
from ...compare.records import Comparison, Effect, MetricComparison, Step
from ...compare.two_studies import TwoStudies
from ...stats.contrast import Contrast
from ...stats.verdict import Verdict
from .. import caveats
from ..table import TableData

SCHEMA = 1


def render(table: TableData) -> str:
    """The document as text that ends in a newline."""
    return json.dumps(document(table), allow_nan=False, indent=2) + "\n"


def document(table: TableData) -> dict[str, Any]:
    """The document as plain objects; the baseline is the first cell."""
    comparison = table.comparison
    return {
        "schema": SCHEMA,
        "grid": comparison.grid,
        "baseline": comparison.baseline.label,
        "seeds": len(comparison.seeds),
        "metric": comparison.metric,
        "better": comparison.better,
        "declared_metric": comparison.declared_metric,
        "seen": list(comparison.seen),
        "other_code": list(caveats.mixed_code(comparison)),
        "other_hardware": list(caveats.mixed_hardware(comparison)),
        "stale_code": [run.id for cell in comparison.cells for run in cell.results if run.stale_code],
        "cells": [_cell(table, index) for index in range(len(table.rows))],
        "summary": table.summary,
        "primary": dict(comparison.primary),
        "interim_looks": list(comparison.interim_looks),
        "measures": {name: asdict(measure) for name, measure in comparison.measures.items()},
        "bench": _strict(comparison.bench),
        "interactions": [_effect(effect) for effect in comparison.interactions],
        "main_effects": [_effect(effect) for effect in comparison.effects],
        "main_effects_note": comparison.effects_reason_missing,
        "design": _strict(comparison.design),
        "steps": [_step(step) for step in comparison.steps],
        "smallest_detectable": table.smallest_detectable,
        "observed_rho": table.observed_rho,
        "tuning": asdict(table.tuning),
        "record": table.record,
    }


def render_two_studies(result: TwoStudies, summary: str) -> str:
    """The document on two studies, ``a`` and ``b``; differences are the second minus the first."""
    first = result.pairs[0]
    document = {
        "schema": SCHEMA,
        "a": result.a,
        "b": result.b,
        "metric": result.metric,
        "better": first.better,
        "seeds": list(result.seeds),
        "cells": [_pair(pair) for pair in result.pairs],
        "summary": summary,
        "family": first.family,
        "measures": {name: asdict(measure) for name, measure in first.measures.items()},
        "differences": [{**asdict(each), "cells": list(each.cells)} for each in result.differences],
        **{name: list(getattr(result, name)) for name in ("only_a", "only_b", "seeds_only_a", "seeds_only_b")},
        "same_runs": result.n_same_runs,
    }
    return json.dumps(document, allow_nan=False, indent=2) + "\n"


def _pair(pair: Comparison) -> dict[str, Any]:
    a, b = pair.cells
    sides = {
        side: {"label": cell.label, "settings": _strict(cell.settings), "run_ids": [run.id for run in cell.results]}
        for side, cell in (("a", a), ("b", b))
    }
    metrics = {}
    for name, metric in b.metrics.items():
        of_b, other = _metric(metric), a.metrics[name]
        values = {"a": {"mean": other.mean, "sd": other.sd, "values": list(other.values)}}
        values["b"] = {key: of_b.pop(key) for key in ("mean", "sd", "values")}
        metrics[name] = {**values, **of_b, "note": metric.contrast.reason_missing if metric.contrast else None}
    return {**sides, "metrics": metrics}


def _cell(table: TableData, index: int) -> dict[str, Any]:
    row = table.rows[index]
    cell = row.cell
    return {
        "label": cell.label,
        "settings": _strict(cell.settings),
        "run_ids": [run.id for run in cell.results],
        "n": len(cell.results),
        "completed": cell.count("completed"),
        "diverged": cell.count("diverged"),
        "failed": cell.count("failed"),
        "missing": cell.count("missing"),
        "note": row.note,
        **{column.name: column.entries[index].text or None for column in table.exported},
        "unmatched": dict(row.unmatched),
        "over_examples": asdict(examples) if (examples := over_examples(table.comparison, cell)) else None,
        "metrics": {name: _metric(metric) for name, metric in cell.metrics.items()},
    }


def _metric(metric: MetricComparison) -> dict[str, Any]:
    return {
        "mean": metric.mean,
        "sd": metric.sd,
        "values": list(metric.values),
        **_contrast(metric.contrast),
        "verdict": metric.verdict.label if metric.verdict else None,
        "judgment": _judgment(metric.verdict),
    }


def _judgment(verdict: Verdict | None) -> dict[str, Any] | None:
    """The tests behind a verdict; differences have the sign with which more is better."""
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
            name: {**_contrast(contrast), "note": contrast.reason_missing}
            for name, contrast in effect.contrasts.items()
        },
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "change": step.change,
        "cell": step.cell,
        "before": step.before,
        "metrics": {
            name: {**_contrast(contrast), "note": contrast.reason_missing} for name, contrast in step.contrasts.items()
        },
    }


def _contrast(contrast: Contrast | None) -> dict[str, Any]:
    if contrast is None:
        return {"delta": None, "ci": None, "p": None}
    return {"delta": contrast.delta, "ci": list(contrast.interval) if contrast.interval else None, "p": contrast.p}


def _strict(value: Any) -> Any:
    """``value`` with infinity and NaN, which YAML has and JSON lacks, as strings."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
