"""The comparison as CSV, one row for each cell and metric: for spreadsheets and data frames; unrounded."""

import csv
import io

from ...compare.records import CellComparison, Comparison, MetricComparison
from ..labels import plain

_FORMULA = ("=", "+", "-", "@")


def render(comparison: Comparison) -> str:
    """The table as text; ``value_<seed>`` are the values of the single runs, an absent number is empty."""
    paths = list(comparison.baseline.levels)
    header = ["grid", "cell", *paths, "metric", "mean", "sd", "delta", "low", "high", "p"]
    header += ["verdict", "p_holm", "margin", "n", "completed", "diverged", "failed", "missing"]
    header += [f"value_{seed}" for seed in comparison.seeds]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_inert(title) for title in header])
    for cell in comparison.cells:
        words = [_inert(word) for word in [comparison.grid, cell.label, *(cell.levels[path] for path in paths)]]
        for metric in cell.metrics.values():
            writer.writerow([*words, _inert(metric.name), *_numbers(cell, metric, len(comparison.seeds))])
    return text.getvalue()


def _numbers(cell: CellComparison, metric: MetricComparison, n_seeds: int) -> list[float | int | str | None]:
    contrast = metric.contrast
    low, high = contrast.interval if contrast and contrast.interval else (None, None)
    return [
        metric.mean,
        metric.sd,
        contrast.delta if contrast else None,
        low,
        high,
        contrast.p if contrast else None,
        metric.verdict.label if metric.verdict else None,
        metric.verdict.p_holm if metric.verdict else None,
        metric.verdict.margin if metric.verdict else None,
        len(cell.results),
        cell.count("completed"),
        cell.count("diverged"),
        cell.count("failed"),
        cell.count("missing"),
        *(metric.values or [None] * n_seeds),
    ]


def _inert(word: object) -> str:
    """A word that no spreadsheet takes for a formula (OWASP: CSV injection)."""
    text = plain(word)
    return f"'{text}" if text.startswith(_FORMULA) or str(word).startswith(("\t", "\r")) else text
