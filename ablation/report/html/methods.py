"""The foot of the page: how many seeds, which test, which correction, which margins, which machine, which versions."""

from collections.abc import Iterable, Mapping
from typing import Any

from ...compare.fairness import TOLERANCE, known
from ...compare.records import Comparison
from ...stats.contrast import plural
from ..footnotes import margins
from ..labels import plain
from ..provenance import HARDWARE, VERSIONS, detectable, distinct, matching, thing, tuned
from .data import ReportData


def facts(material: ReportData) -> list[tuple[str, str]]:
    """(what, its value), in words, in the order in which they are read."""
    comparison = material.comparison
    data = material.manifest.get("task") or {}
    records = [result.get("record") or {} for result in material.results.values()]
    found = [
        ("Runs", f"{plural(len(comparison.cells), 'cell')}, {plural(len(comparison.seeds), 'seed')} planned"),
        ("Test", "paired t over differences seed by seed; equivalence by two one-sided tests against the margin"),
        ("Correction", _correction(comparison)),
        ("Margins", margins(comparison)),
        ("Power", detectable(comparison)),
        ("Matching", matching(comparison) or _matched(comparison)),
        ("Tuning", tuned(comparison)),
        ("Task", ", ".join(f"{key} {value}" for key, value in data.items() if value is not None)),
        ("Hardware", _distinct(records, HARDWARE)),
        ("Times", _times(comparison)),
        ("Versions", _distinct(records, VERSIONS)),
    ]
    return [(name, plain(value)) for name, value in found if value]


def _matched(comparison: Comparison) -> str:
    things = ", ".join(thing(name) for name in known(comparison))
    return f"within {100 * TOLERANCE:g} % of the baseline: {things}" if things and len(comparison.cells) > 1 else ""


def _correction(comparison: Comparison) -> str:
    verdicts = [metric.verdict for cell in comparison.cells for metric in cell.metrics.values() if metric.verdict]
    if not verdicts:
        return "none, nothing was judged"
    family = max(verdict.family for verdict in verdicts)
    alphas = sorted({verdict.alpha for verdict in verdicts if verdict.alpha})
    level = "" if not alphas else f", level {', '.join(f'{alpha:g}' for alpha in alphas)}"
    looks = (
        ""
        if not comparison.interim_looks
        else f"; looked at after {', '.join(map(str, comparison.interim_looks))} seeds"
    )
    return f"Holm over {plural(family, 'comparison')} (cells and lenses){level}{looks}"


def _times(comparison: Comparison) -> str:
    bench = comparison.bench
    if not bench:
        return "none taken apart from training; `ablate bench` takes them"
    rounds = f"{bench.get('rounds')} interleaved rounds, {bench.get('dropped_rounds')} dropped as noisy"
    where = _distinct([bench.get("record") or {}], (*HARDWARE, "compile"))
    return f"{bench.get('processes')} processes, {rounds}; {where}"


def _distinct(records: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> str:
    """``device cpu, threads 1``; where runs differ, every value that occurs."""
    records = list(records)
    values = {key: distinct(records, key) for key in keys}
    return ", ".join(f"{key} {' or '.join(found)}" for key, found in values.items() if found)
