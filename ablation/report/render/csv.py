"""The table as CSV for spreadsheets and data frames: a row for each cell and measure, numbers not rounded."""

import csv
import io

from ...compare.records import CellComparison, Comparison, MetricComparison
from ...compare.two_studies import TwoStudies
from ..caveats import not_declared
from ..labels import plain
from ..table import TableData

_FORMULA = ("=", "+", "-", "@")


def render(table: TableData) -> str:
    """The rows as text; ``value_<seed>`` is the value of a single run, an absent number is empty."""
    comparison = table.comparison
    paths = list(comparison.baseline.levels)
    header = ["grid", "cell", *paths, "metric", "mean", "sd", "delta", "low", "high", "p"]
    header += ["verdict", "p_holm", "margin", "n", "completed", "diverged", "failed", "missing"]
    header += ["declared", "seen"]
    header += [*(column.name for column in table.exported), *(f"value_{seed}" for seed in comparison.seeds)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_inert(title) for title in header])
    for index, row in enumerate(table.rows):
        cell = row.cell
        names = [_inert(name) for name in [comparison.grid, cell.label, *(cell.levels[path] for path in paths)]]
        exported = [_inert(column.entries[index].text) for column in table.exported]
        for metric in cell.metrics.values():
            values = metric.values or [None] * len(comparison.seeds)
            writer.writerow(
                [
                    *names,
                    _inert(metric.name),
                    *_numbers(cell, metric),
                    *_caveats(comparison, metric),
                    *exported,
                    *values,
                ]
            )
    return text.getvalue()


def render_two_studies(result: TwoStudies) -> str:
    """A row for each cell that both studies have and each measure; ``a`` and ``b`` are the first and the second."""
    header = ["study_a", "study_b", "cell_a", "cell_b", "metric", "mean_a", "sd_a", "mean_b", "sd_b", "delta"]
    header += ["low", "high", "p", "verdict", "p_holm", "margin"]
    header += [f"{side}_{seed}" for side in ("a", "b") for seed in result.seeds]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for pair in result.pairs:
        a, b = pair.cells
        names = [_inert(name) for name in (result.a, result.b, a.label, b.label)]
        for name, metric in b.metrics.items():
            other, contrast = a.metrics[name], metric.contrast
            low, high = contrast.interval if contrast and contrast.interval else (None, None)
            tested = (contrast.delta, low, high, contrast.p) if contrast else (None,) * 4
            verdict = metric.verdict
            judged = (verdict.label, verdict.p_holm, verdict.margin) if verdict else (None,) * 3
            numbers = [other.mean, other.sd, metric.mean, metric.sd, *tested, *judged, *other.values, *metric.values]
            writer.writerow([*names, _inert(name), *numbers])
    return text.getvalue()


def _numbers(cell: CellComparison, metric: MetricComparison) -> list[float | int | str | None]:
    contrast, verdict = metric.contrast, metric.verdict
    low, high = contrast.interval if contrast and contrast.interval else (None, None)
    return [
        metric.mean,
        metric.sd,
        contrast.delta if contrast else None,
        low,
        high,
        contrast.p if contrast else None,
        verdict.label if verdict else None,
        verdict.p_holm if verdict else None,
        verdict.margin if verdict else None,
        len(cell.results),
        cell.count("completed"),
        cell.count("diverged"),
        cell.count("failed"),
        cell.count("missing"),
    ]


def _caveats(comparison: Comparison, metric: MetricComparison) -> list[str]:
    """``no`` at the metric that was chosen instead of the grid's own; the numbers of seeds that were seen before."""
    declared = "no" if metric.name == comparison.metric and not_declared(comparison) else ""
    return [declared, " ".join(map(str, comparison.seen)) if metric.verdict else ""]


def _inert(value: object) -> str:
    """A text that no spreadsheet takes for a formula (OWASP: CSV injection)."""
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA) or str(value).startswith(("\t", "\r")) else text
