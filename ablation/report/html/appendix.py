"""The end of the page: every run with its settings, and how the comparison was made."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...compare.fairness import TOLERANCE, matchable
from ...compare.records import CellComparison, Comparison
from ...stats.contrast import plural
from .. import numbers
from ..data import data_lines
from ..footnotes import margins
from ..labels import metric_name, plain
from ..provenance import HARDWARE, VERSIONS, detectable, matched_name, not_matched, records, tuned
from .data import ReportData, flat

_ABSENT = "absent"


@dataclass(frozen=True)
class RunEntry:
    """One run by its ``id``; ``text`` is its final value of the metric, or the reason why it has none."""

    seed: int
    id: str
    status: str
    text: str


@dataclass(frozen=True)
class CellRuns:
    """The runs of a cell; ``changes`` are (path, value of the baseline, value of the cell)."""

    name: str
    changes: Sequence[tuple[str, str, str]]
    runs: Sequence[RunEntry]


def runs_by_cell(data: ReportData) -> list[CellRuns]:
    """Cell by cell of those that are shown."""
    return [
        CellRuns(
            data.names[cell.label],
            _changes(data, cell),
            [_entry(data, cell, index) for index in range(len(cell.results))],
        )
        for cell in data.shown.cells
    ]


def _changes(data: ReportData, cell: CellComparison) -> list[tuple[str, str, str]]:
    """Settings in which the cell differs from the baseline: resolved ones, or those of the grid before any run."""
    baseline = data.comparison.baseline
    for mine in cell.results:
        for other in baseline.results:
            config, reference = data.config(mine.id), data.config(other.id)
            if config is not None and reference is not None:
                return _differing(config, reference)
    return _differing(flat(dict(cell.settings)), flat(dict(baseline.settings)))


def _differing(config: dict[str, str], reference: dict[str, str]) -> list[tuple[str, str, str]]:
    paths = dict.fromkeys([*reference, *config])
    return [
        (plain(path), plain(reference.get(path, _ABSENT)), plain(config.get(path, _ABSENT)))
        for path in paths
        if path != "seed" and config.get(path) != reference.get(path)
    ]


def _entry(data: ReportData, cell: CellComparison, index: int) -> RunEntry:
    run, seed, metric = cell.results[index], cell.seeds[index], data.comparison.metric
    value = run.metrics.get(metric)
    text = f"{metric_name(metric)} {value:.{numbers.four_digits(value)}f}" if value is not None else ""
    return RunEntry(seed, plain(run.id), run.status, plain(run.reason or text))


def baseline_settings(data: ReportData) -> list[tuple[str, str]]:
    """Every setting of the baseline with its value, as its first run had them; empty before any run."""
    for run in data.comparison.baseline.results:
        if (config := data.config(run.id)) is not None:
            return [(plain(path), plain(value)) for path, value in config.items() if path != "seed"]
    return []


def methods(data: ReportData) -> list[tuple[str, str]]:
    """(name, value) of how the comparison was made, in words."""
    comparison = data.comparison
    recorded = records(comparison)
    facts = [
        ("Command", _command(data)),
        ("Date", data.dates),
        ("Code", data.code),
        ("Runs", f"{plural(len(comparison.cells), 'cell')}, {plural(len(comparison.seeds), 'seed')} planned"),
        ("Test", "paired t over differences seed by seed; equivalence by two one-sided tests against the margin"),
        ("Correction", _correction(comparison)),
        ("Margins", margins(comparison)),
        ("Power", detectable(comparison)),
        ("Matching", not_matched(comparison) or _matched(comparison)),
        ("Tuning", tuned(comparison)),
        ("Data", "; ".join(line.removeprefix("data: ") for line in data_lines(comparison.data))),
        ("Hardware", _values(recorded, HARDWARE)),
        ("Times", _times(comparison)),
        ("Versions", _values(recorded, VERSIONS)),
    ]
    return [(name, plain(value)) for name, value in facts if value]


def _command(data: ReportData) -> str:
    """What trained the runs, and what made the page: to be repeated beside the grid's file, which is below."""
    file = Path(str(data.manifest.get("file") or f"{data.comparison.grid}.yaml")).name
    settings = "".join(f" --set {shlex.quote(str(setting))}" for setting in data.manifest.get("settings", ()))
    return f"ablate run {shlex.quote(file)}{settings}; ablate report {shlex.quote(file)}"


def _matched(comparison: Comparison) -> str:
    names = ", ".join(matched_name(name) for name in matchable(comparison))
    return f"within {100 * TOLERANCE:g} % of the baseline: {names}" if names and len(comparison.cells) > 1 else ""


def _correction(comparison: Comparison) -> str:
    verdicts = comparison.verdicts
    if not verdicts:
        return "none, there are no verdicts"
    family = max(verdict.family for verdict in verdicts)
    alphas = sorted({verdict.alpha for verdict in verdicts if verdict.alpha})
    level = "" if not alphas else f", level {', '.join(f'{alpha:g}' for alpha in alphas)}"
    planned = ", ".join(map(str, comparison.interim_looks))
    looks = f"; interim looks planned at {planned} seeds" if planned else ""
    return f"Holm over {plural(family, 'comparison')} (cells and lenses){level}{looks}"


def _times(comparison: Comparison) -> str:
    bench = comparison.bench
    if not bench:
        return "none measured apart from training; `ablate bench` measures them"
    rounds = f"{bench.get('rounds')} interleaved rounds, {bench.get('dropped_rounds')} dropped as noisy"
    record = {key: [plain(str(value))] for key, value in (bench.get("record") or {}).items() if value is not None}
    where = _values(record, (*HARDWARE, "compile"))
    return f"{bench.get('processes')} processes, {rounds}; {where}"


def _values(record: Mapping[str, Sequence[str]], keys: Iterable[str]) -> str:
    """``device cpu, threads 1``; where runs differ, every value that occurs."""
    return ", ".join(f"{key} {' or '.join(values)}" for key in keys if (values := record.get(key)))
