"""Crosstable: one measure over two things at once: the levels of a factor, or the lengths it was validated at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...compare.records import CellComparison, Comparison, MetricComparison
from ...errors import InputError, nearest
from .. import labels, numbers


@dataclass(frozen=True)
class Crosstable:
    """Rows and columns by their titles, and what stands where they meet; None where there is no such cell."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[MetricComparison | None]]
    note: str | None = None
    """Why some places are empty."""


def pivot(comparison: Comparison, factor: str) -> Crosstable:
    """The levels of ``factor``, its name or its path, as columns; the others' combinations as rows.

    Errors: InputError when it is not a factor, and where the design did not mean to fill the table.
    """
    names = {factor["name"]: factor for factor in comparison.factors}
    paths = {factor["path"]: factor for factor in comparison.factors}
    found = names.get(factor) or paths.get(factor)
    if found is None:
        raise InputError(f"--pivot {factor}: not a factor; allowed: {', '.join(names)}{nearest(factor, names)}")
    rows: dict[str, dict[str, CellComparison]] = {}
    for cell in comparison.cells:
        others = [f"{f['name']}={cell.levels[f['path']]}" for f in comparison.factors if f is not found]
        rows.setdefault(" ".join(others) or comparison.grid, {})[cell.levels[found["path"]]] = cell
    levels = [level for level in found["levels"] if any(level in row for row in rows.values())]
    written = {
        title: [row[level].metrics[comparison.metric] if level in row else None for level in levels]
        for title, row in rows.items()
    }
    note = None
    if any(metric is None for row in written.values() for metric in row):
        design = comparison.design
        if design.get("uncrossed"):
            raise InputError(f"--pivot {factor}: design {design['name']}: {design['uncrossed']}")
        excluded = [labels.plain(one["label"]) for one in design.get("excluded", ())]
        note = f"empty: excluded ({labels.listed(excluded)})" if excluded else None
    return Crosstable(labels.heading(comparison), f"{found['name']}:", levels, written, note)


def lengths(comparison: Comparison) -> Crosstable:
    """The measure on the usual validation set and on the further ones, such as longer texts, as columns.

    Errors: InputError when there is only the usual one.
    """
    measure = comparison.metric.partition("@")[0]
    names = [n for n in comparison.other_quality if n.partition("@")[0] == measure]
    names = [measure, *(name for name in names if "@" in name)]
    if len(names) == 1:
        what = "was validated at one length; `extrapolate` or `buckets` of the data asks for more"
        raise InputError(f"--by-length: {measure} {what}")
    columns = ["1x" if name == measure and any(n.endswith("x") for n in names) else name.partition("@")[2] or "all"
               for name in names]  # fmt: skip
    rows = {cell.label: [cell.metrics.get(name) for name in names] for cell in comparison.cells}
    return Crosstable(labels.heading(comparison), "length:", columns, rows)


def show(crosstable: Crosstable, console: Console | None = None) -> None:
    """Means with their deviations over seeds, each with the mark of its verdict where it has one."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column(Text(labels.plain(crosstable.corner)), overflow="fold")
    for column in crosstable.columns:
        table.add_column(Text(labels.plain(column)), justify="right", no_wrap=True)
    metrics = [metric for row in crosstable.rows.values() for metric in row if metric is not None]
    written = dict(zip(map(id, metrics), numbers.means(metrics), strict=True))
    for title, row in crosstable.rows.items():
        table.add_row(Text(labels.plain(title)), *(Text(_written(metric, written)) for metric in row))
    console.print(Text(labels.plain(crosstable.title), "dim"), Text(), table)
    if any(metric.verdict for metric in metrics):
        console.print(Text("\nmarks: against the baseline, as in the whole table", "dim"))
    if crosstable.note:
        console.print(Text(crosstable.note, "dim"))


def _written(metric: MetricComparison | None, written: Mapping[int, tuple[str, str]]) -> str:
    if metric is None:
        return ""
    mean, sd = written[id(metric)]
    return " ".join(part for part in (labels.mark(metric.verdict), mean, sd) if part)
