"""One metric as a cross table: the levels of a factor as columns, or the lengths it was evaluated at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...compare.records import CellComparison, Comparison, MetricComparison
from ...errors import InputError, nearest
from ...store.results import base_metric, set_of
from .. import caveats, labels, numbers, paging


@dataclass(frozen=True)
class Crosstable:
    """Columns by title, rows by title; None where there is no such cell."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[MetricComparison | None]]
    notes: Sequence[str] = ()
    """Why some fields are empty, and what weakens all of it."""


def pivot(comparison: Comparison, factor: str) -> Crosstable:
    """The levels of ``factor``, given by its name or path, as columns; the combinations of the others as rows.

    Errors: InputError when there is no such factor, and when the design does not cross it with the others.
    """
    names = {factor["name"]: factor for factor in comparison.factors}
    paths = {factor["path"]: factor for factor in comparison.factors}
    pivoted = names.get(factor) or paths.get(factor)
    if pivoted is None:
        raise InputError(f"--pivot {factor}: not a factor; allowed: {', '.join(names)}{nearest(factor, names)}")
    cells: dict[str, dict[str, CellComparison]] = {}
    for cell in comparison.cells:
        others = [
            f"{other['name']}={cell.levels[other['path']]}" for other in comparison.factors if other is not pivoted
        ]
        cells.setdefault(" ".join(others) or comparison.grid, {})[cell.levels[pivoted["path"]]] = cell
    levels = [level for level in pivoted["levels"] if any(level in row for row in cells.values())]
    rows = {
        title: [row[level].metrics[comparison.metric] if level in row else None for level in levels]
        for title, row in cells.items()
    }
    note = None
    if any(metric is None for row in rows.values() for metric in row):
        design = comparison.design
        if design.get("uncrossed"):
            raise InputError(f"--pivot {factor}: design {design['name']}: {design['uncrossed']}")
        excluded = [labels.plain(rule["label"]) for rule in design.get("excluded", ())]
        note = f"empty: excluded ({labels.listed(excluded)})" if excluded else None
    notes = [*([note] if note else []), *caveats.notes(comparison)]
    return Crosstable(labels.heading(comparison), f"{pivoted['name']}:", levels, rows, notes)


def lengths(comparison: Comparison) -> Crosstable:
    """The metric on the usual validation set and on those of other lengths, as columns.

    Errors: InputError when there is only the usual one.
    """
    metric, others = _sets(comparison)
    others = [name for name in others if set_of(name) not in comparison.named_sets]
    if not others:
        raise InputError(
            f"--by-length: {metric} was evaluated at one length; set `extrapolate` or `buckets` of the task"
        )
    in_multiples = any(name.endswith("x") for name in others)
    columns = ["1x" if in_multiples else "all", *(name.partition("@")[2] for name in others)]
    rows = {cell.label: [cell.metrics.get(name) for name in (metric, *others)] for cell in comparison.cells}
    notes = [*caveats.notes(comparison)]
    return Crosstable(labels.heading(replace(comparison, metric=metric)), "length:", columns, rows, notes)


def sets(comparison: Comparison) -> Crosstable:
    """The metric on the usual validation set and on the named ones, as columns.

    Errors: InputError when there is only the usual one.
    """
    metric, others = _sets(comparison)
    others = [name for name in others if set_of(name) in comparison.named_sets]
    if not others:
        raise InputError(f"--by-set: {metric} has no named sets; set `test_sets` or `score_by` of the task")
    names = [metric, *others] if comparison.measured(metric) else others
    titles, cells = [set_of(name) or "validation" for name in names], [cell.label for cell in comparison.cells]
    heading, notes = labels.heading(replace(comparison, metric=metric)), [*caveats.notes(comparison)]
    by_set = {
        title: [cell.metrics.get(name) for cell in comparison.cells] for title, name in zip(titles, names, strict=True)
    }
    if len(titles) > len(cells):
        return Crosstable(heading, "set", cells, by_set, notes)
    return Crosstable(heading, "set:", titles, dict(zip(cells, zip(*by_set.values(), strict=True), strict=True)), notes)


def _sets(comparison: Comparison) -> tuple[str, list[str]]:
    """The metric without its set, and its names on all further sets that were measured."""
    metric = base_metric(comparison.metric)
    own = (comparison.metric,) if set_of(comparison.metric) else ()
    names = (*comparison.other_quality, *own)
    return metric, [name for name in names if base_metric(name) == metric and set_of(name)]


def show(crosstable: Crosstable, console: Console | None = None) -> None:
    """Print means with their standard deviations over seeds, each after the mark of its verdict."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column(Text(labels.plain(crosstable.corner)), overflow="fold")
    metrics = [metric for row in crosstable.rows.values() for metric in row if metric is not None]
    means = iter(numbers.means(metrics))
    rows = {
        title: ["" if metric is None else " ".join(_parts(metric, *next(means))) for metric in row]
        for title, row in crosstable.rows.items()
    }
    for index, column in enumerate(crosstable.columns):
        widest = max(cell_len(texts[index]) for texts in rows.values())  # a long title may fold, a number may not
        table.add_column(Text(labels.plain(column)), justify="right", min_width=widest, overflow="fold")
    for title, texts in rows.items():
        table.add_row(Text(labels.plain(title)), *map(Text, texts))
    parts: list[RenderableType] = [Text(labels.plain(crosstable.title), "dim"), Text(), table]
    if any(metric.verdict for metric in metrics):
        parts.append(Text("\nmarks: against the baseline, as in the whole table", "dim"))
    paging.show(Group(*parts, *(Text(note, "dim") for note in crosstable.notes)), console)


def _parts(metric: MetricComparison, mean: str, sd: str) -> list[str]:
    return [part for part in (labels.mark(metric.verdict), mean, sd) if part]
