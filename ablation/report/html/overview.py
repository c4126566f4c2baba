"""The comparison as a table of the page: a line per cell, its interval as a picture, and what rows are sorted by."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

from markupsafe import Markup

from ...compare.measures import LENSES, Measure
from ...compare.records import CellComparison, Comparison, MetricComparison
from ..entries import Entry
from ..labels import metric_name, metric_verdict, plain
from ..table import FilledColumn
from .data import ReportData
from .forest import shown

_WIDTH, _HEIGHT = 190, 20
"""Pixels of the picture of an interval."""
_FEWEST_TICKS = 3
_FLATTENED, _ROOM = 4.0, 1.5
"""Where one interval reaches so many times farther than three quarters of all, the axis ends at 1.5 times theirs."""
_EDGE = 0.03
"""Of the axis, kept free beside the outermost intervals."""
_CELLS_PER_LEVEL = 2
"""A factor with fewer cells for each level, as a range has, is searched and not chosen from a list."""
_LEVEL_COLUMNS = range(3, 9)
"""So many factors have a column each, where cells combine their levels and would be named by all of them."""
_VERDICTS = ("better", "equivalent", "identical", "inconclusive", "worse", "diverged")
"""In the order in which they are sorted."""


@dataclass(frozen=True)
class PageColumn:
    """``entries``, ``keys``, by which rows are sorted, and ``pictures`` are of the rows; ``axis`` is in the head."""

    title: str
    lens: str
    kind: str
    entries: Sequence[Entry]
    keys: Sequence[str]
    pictures: Sequence[Markup] = ()
    axis: Markup | None = None


@dataclass(frozen=True)
class PageRow:
    """A cell: its name, the mark behind it, its verdict, and its level of each factor that can be chosen from.

    ``in_columns`` are its levels of the factors that have a column each.
    """

    name: str
    mark: str
    verdict: str
    levels: str
    in_columns: Sequence[str]


@dataclass(frozen=True)
class Choice:
    """A factor that rows can be chosen by."""

    path: str
    name: str
    levels: Sequence[str]


@dataclass(frozen=True)
class PageTable:
    """``lenses`` are (title, number of columns); ``factors``, where there are any, have columns in place of names."""

    factors: Sequence[str]
    rows: Sequence[PageRow]
    lenses: Sequence[tuple[str, int]]
    columns: Sequence[PageColumn]


def overview(data: ReportData) -> PageTable:
    """The table at the top of the page: the columns of every table, and the interval of each cell as a picture."""
    columns = []
    for column in data.shown_table.shown("always"):
        if column.kind == "verdict" and column.name == data.comparison.metric:
            columns.append(_pictures(data))
        columns.append(_column(data, column))
    return _table(data, [column for column in columns if column is not None])


def in_full(data: ReportData) -> dict[str, PageTable]:
    """Everything that was measured, by lens, of the cells that are shown."""
    columns = data.shown_table.shown("in full")
    tables = {}
    for lens in LENSES:
        names = list(dict.fromkeys(column.name for column in columns if column.lens == lens))
        of_lens = [
            _column(data, column, named=True)
            for name in names
            for column in columns
            if (column.lens, column.name) == (lens, name)
        ]
        if of_lens:
            tables[lens.capitalize()] = _table(data, of_lens)
    return tables


def choices(data: ReportData) -> list[Choice]:
    """The factors that rows can be chosen by."""
    cells = data.shown.cells
    found = []
    for factor in data.comparison.factors:
        levels = list(dict.fromkeys(plain(cell.levels.get(factor["path"], "")) for cell in cells))
        if len(levels) > 1 and len(cells) >= _CELLS_PER_LEVEL * len(levels):
            found.append(Choice(factor["path"], plain(factor["name"]), levels))
    return found


def verdicts(table: PageTable) -> list[str]:
    """Those that occur, in the order in which they are sorted."""
    occurring = {row.verdict for row in table.rows}
    return [verdict for verdict in _VERDICTS if verdict in occurring]


def _table(data: ReportData, columns: Sequence[PageColumn]) -> PageTable:
    lenses = [(lens, len(list(of_lens))) for lens, of_lens in groupby(columns, key=lambda column: column.lens)]
    factors = data.combined_factors if len(data.combined_factors) in _LEVEL_COLUMNS else {}
    paths = [choice.path for choice in choices(data)]
    rows = []
    for row in data.shown_table.rows:
        verdict = row.cell.metrics[data.comparison.metric].verdict
        levels = [plain(row.cell.levels.get(path, "")) for path in paths]
        label = "" if verdict is None else verdict.label
        in_columns = [plain(row.cell.levels.get(path, "")) for path in factors]
        rows.append(PageRow(data.names[row.cell.label], row.mark, label, json.dumps(levels), in_columns))
    return PageTable(list(factors.values()), rows, lenses, columns)


def _column(data: ReportData, column: FilledColumn, named: bool = False) -> PageColumn:
    """``named``: under a title that says which measure it is of, where many are beside each other."""
    title, comparison = column.title, data.shown
    if named and column.kind in ("difference", "verdict"):
        title = f"{metric_name(column.name)}, {'difference' if column.kind == 'difference' else 'verdict'}"
    elif column.kind == "verdict" and column.name != comparison.metric:
        title = metric_name(column.name)
    keys = [_key(comparison, cell, column, entry) for cell, entry in zip(comparison.cells, column.entries, strict=True)]
    return PageColumn(title, (column.lens or "").capitalize(), column.kind, column.entries, keys)


def _key(comparison: Comparison, cell: CellComparison, column: FilledColumn, entry: Entry) -> str:
    """What a row is sorted by in a column: a number where it has one, else its text; empty rows come last."""
    metric = cell.metrics.get(column.name)
    if metric is None:
        return entry.text
    if column.kind == "verdict":
        verdict = metric.verdict
        return entry.text if verdict is None else str(_VERDICTS.index(verdict.label))
    number = metric.mean
    if column.kind in ("difference", "ratio"):
        number = None if metric.contrast is None else metric.contrast.delta
    return "" if number is None or math.isnan(number) else f"{number:.6g}"


def _pictures(data: ReportData) -> PageColumn | None:
    """The interval of each cell on one axis, with zero and the margin; None where no cell has a difference."""
    comparison = data.shown
    measure = comparison.measures[comparison.metric]
    known = [_interval(measure, cell.metrics[measure.name]) for cell in comparison.cells]
    if not any(known):
        return None
    axis = _Axis.of(measure, [interval for interval in known if interval is not None])
    pictures = [
        Markup("")
        if interval is None
        else _picture(axis, interval, metric_verdict(measure, cell.metrics[measure.name])[1])
        for cell, interval in zip(comparison.cells, known, strict=True)
    ]
    keys = ["" if interval is None else f"{interval.delta:.6g}" for interval in known]
    unit = ", %" if measure.ratio else ""
    entries = [Entry()] * len(known)
    return PageColumn(
        f"interval{unit}", (measure.lens or "").capitalize(), "picture", entries, keys, pictures, _scale(axis)
    )


@dataclass(frozen=True)
class _Interval:
    """A difference with its ends, which are that itself where it has no interval."""

    delta: float
    low: float
    high: float


def _interval(measure: Measure, metric: MetricComparison) -> _Interval | None:
    contrast = metric.contrast
    if contrast is None or contrast.delta is None:
        return None
    low, high = contrast.interval or (contrast.delta, contrast.delta)
    return _Interval(shown(measure, contrast.delta), shown(measure, low), shown(measure, high))


@dataclass(frozen=True)
class _Axis:
    """Which differences are between the left and the right edge of a picture, and the margin."""

    low: float
    high: float
    margin: tuple[float, float] | None

    @classmethod
    def of(cls, measure: Measure, intervals: Sequence[_Interval]) -> Self:
        """That of all intervals with zero, unless a few reach so far that they would flatten all others."""
        reaches = sorted(max(abs(interval.low), abs(interval.high)) for interval in intervals)
        usual = reaches[3 * (len(reaches) - 1) // 4]
        most = usual * _ROOM if reaches[-1] > _FLATTENED * usual > 0 else reaches[-1]
        low = max(-most, min(0.0, *(interval.low for interval in intervals)))
        high = min(most, max(0.0, *(interval.high for interval in intervals)))
        margin = measure.margin and (shown(measure, -measure.margin), shown(measure, measure.margin))
        if low == high:
            low, high = margin or (-1.0, 1.0)
        room = _EDGE * (high - low)
        return cls(low - room, high + room, margin or None)

    def pixel(self, difference: float) -> float:
        return round(_WIDTH * (difference - self.low) / (self.high - self.low), 1)

    def within(self, difference: float) -> float:
        """The pixel, or that of the edge which it is beyond."""
        return min(max(self.pixel(difference), 0.0), float(_WIDTH))

    @property
    def ticks(self) -> list[float]:
        """Zero and round numbers on both sides of it."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span))
        step = next(
            step for step in (5 * power, 2 * power, power, power / 2, power / 5) if span >= _FEWEST_TICKS * step
        )
        return [number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _picture(axis: _Axis, interval: _Interval, tone: str) -> Markup:
    """An interval with its difference, on the margin and beside zero; an arrow where it goes on beyond the edge."""
    middle = _HEIGHT // 2
    low, high, zero = axis.within(interval.low), axis.within(interval.high), axis.pixel(0)
    parts = []
    if axis.margin:
        left, right = map(axis.within, axis.margin)
        parts.append(f'<rect class="margin" x="{left:g}" width="{max(right - left, 0.5):g}" height="{_HEIGHT}"/>')
    parts.append(f'<path class="zero" d="M{zero:g} 0V{_HEIGHT}"/>')
    parts.append(f'<path class="bar" d="M{low:g} {middle}H{high:g}"/>')
    if 0 <= (delta := axis.pixel(interval.delta)) <= _WIDTH:
        parts.append(f'<path class="bar" d="M{delta:g} 4V{_HEIGHT - 4}"/>')
    if axis.pixel(interval.low) < 0:
        parts.append(f'<path class="bar" d="M6 {middle - 5}L1 {middle}L6 {middle + 5}"/>')
    if axis.pixel(interval.high) > _WIDTH:
        parts.append(
            f'<path class="bar" d="M{_WIDTH - 6} {middle - 5}L{_WIDTH - 1} {middle}L{_WIDTH - 6} {middle + 5}"/>'
        )
    inside = "".join(parts)
    return Markup(
        f'<svg class="interval-plot {tone}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'aria-hidden="true">{inside}</svg>'
    )


def _scale(axis: _Axis) -> Markup:
    """The numbers of the axis, for the head of the table."""
    parts, end = [], -1.0
    decimals = max((max(0, -math.floor(math.log10(abs(tick)) + 1e-9)) for tick in axis.ticks if tick), default=0)
    for tick in axis.ticks:
        text = f"{tick:+.{decimals}f}" if tick else "0"
        half = 3.5 * len(text)
        place = min(max(axis.pixel(tick), half), _WIDTH - half)
        if place - half > end:
            parts.append(f'<text x="{place:g}" y="11" text-anchor="middle">{text}</text>')
            end = place + half + 4
    inside = "".join(parts)
    return Markup(
        f'<svg class="scale" viewBox="0 0 {_WIDTH} 14" width="{_WIDTH}" height="14" aria-hidden="true">{inside}</svg>'
    )
