"""What W&B is given of a comparison: the text of its dashboard, and its table as plain values."""

from typing import TYPE_CHECKING, Any

from ..compare.records import Comparison

if TYPE_CHECKING:
    from ..tracking.workspace import Dashboard


def dashboard_of(comparison: Comparison) -> "Dashboard":
    """What W&B shows of a comparison beside its runs."""
    from ..report.render import render
    from ..report.summary import summary
    from ..report.table import TableData, measures_of
    from ..tracking.workspace import Dashboard

    results = [run for cell in comparison.cells for run in cell.results]
    return Dashboard(
        comparison.grid,
        comparison.question,
        summary(comparison),
        render(TableData.of(comparison), "markdown"),
        [factor["name"] for factor in comparison.factors if len(factor["levels"]) > 1],
        comparison.metric,
        comparison.better,
        [name for name in measures_of(comparison, "stability") if any(name in run.stability for run in results)],
    )


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a comparison as plain values: cell, levels, and of each primary measure what was found."""
    names = [name for name in comparison.primary.values() if name is not None]
    columns = ["cell", *(factor["name"] for factor in comparison.factors)]
    columns += [f"{name} {what}" for name in names for what in ("mean", "difference", "low", "high", "verdict")]
    rows = []
    for cell in comparison.cells:
        row: list[Any] = [cell.label, *(cell.levels[factor["path"]] for factor in comparison.factors)]
        for name in names:
            metric = cell.metrics[name]
            contrast = metric.contrast
            low, high = contrast.interval if contrast and contrast.interval else (None, None)
            verdict = metric.verdict.label if metric.verdict else ("baseline" if cell is comparison.baseline else None)
            row += [metric.mean, contrast.delta if contrast else None, low, high, verdict]
        rows.append(row)
    return columns, rows
