"""The comparison table as data: each column is declared once, in ``COLUMNS``; renderers lay it out and compute nothing.

A new column is one more ``Column`` in ``COLUMNS``, which every format then shows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

from ..compare.fairness import Tuning, tuning, unmatched
from ..compare.measures import EXACT, LENSES, PARAMETERS, TIMED, TOKENS_PER_SECOND, TRAINING_STEP, Lens
from ..compare.power import minimum_detectable_difference, observed_rho
from ..compare.records import CellComparison, Comparison
from ..errors import InputError, nearest
from ..stats.contrast import Contrast, plural
from . import entries, labels, numbers
from .entries import Entry
from .missing import cell_note
from .provenance import records
from .summary import summary

Kind = Literal["mean", "difference", "verdict", "ratio", "count", "words"]
Shown = Literal["always", "with room", "in full"]
"""In every table for people, in those with room for it, or only in the page's tables of all that was measured."""


@dataclass(frozen=True)
class FilledColumn:
    """A column of one table, with an entry for each row."""

    name: str
    """That of the measure, or of the declared column."""
    kind: Kind
    title: str
    entries: tuple[Entry, ...]
    lens: Lens | None = None
    shown: Shown = "always"
    short_title: str | None = None
    """Where there is little room; None: the title."""


@dataclass(frozen=True)
class Column:
    """The declaration of a column, or of one column for each of several measures.

    ``write(comparison, name)`` writes the entries, the baseline's first; a column without any text is not shown.
    """

    kind: Kind
    write: Callable[[Comparison, str], Sequence[Entry]]
    lens: Lens | None = None
    measures: Callable[[Comparison], Iterable[str]] | None = None
    """The names of the measures; None: it is about the cell itself."""
    name: str = ""
    """Of a column that is about the cell: its title, and its key in JSON and CSV."""
    shown: Shown = "always"
    exported: bool = True
    """Whether JSON and CSV, which hold all measures anyway, hold this column about the cell too."""

    def filled(self, comparison: Comparison, even_empty: bool = False) -> Iterator[FilledColumn]:
        for name in [self.name] if self.measures is None else self.measures(comparison):
            written = tuple(self.write(comparison, name))
            if even_empty or any(entry.text for entry in written):
                title, short_title = _titles(comparison, self.kind, name)
                yield FilledColumn(name, self.kind, title, written, self.lens, self.shown, short_title)


@dataclass(frozen=True)
class Section:
    """A further table, of the main effects or of the steps."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[FilledColumn, ...]


@dataclass(frozen=True)
class Sections:
    """Several tables with words around them, for what is no comparison of cells with one baseline."""

    title: str
    summary: str
    heading: str
    tables: tuple[Section, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A cell; ``mark`` follows the label of one that differs in size, cost or data, or in more than its levels."""

    cell: CellComparison
    label: str
    mark: str
    unmatched: Mapping[str, float]
    """By what fraction it differs from the baseline, for each quantity that should be equal and is not."""
    note: str | None

    @property
    def marked(self) -> str:
        return self.label + self.mark


@dataclass(frozen=True)
class TableData:
    """The table of a comparison, built once for all formats; the first row is the baseline's."""

    comparison: Comparison
    """The numbers themselves, unrounded, for the formats that programs read."""
    rows: tuple[Row, ...]
    columns: tuple[FilledColumn, ...]
    exported: tuple[FilledColumn, ...]
    """Columns about the cells that JSON and CSV hold beside all measures."""
    effects: Section | None
    steps: Section | None
    summary: str
    reference: str
    """The baseline's mean of the metric, for tables that have no room for a column of means."""
    chosen: bool = False
    """Whether the columns are those that were asked for, in that order, all of which are shown."""

    @classmethod
    def of(cls, comparison: Comparison, names: Sequence[str] = ()) -> Self:
        """The table, with the columns of these measures only. Errors: InputError for a name that no column has."""
        about_cells = [column for column in COLUMNS if column.measures is None and column.exported]
        ((mean, sd),) = numbers.means([comparison.baseline.metrics[comparison.metric]])
        differing = unmatched(comparison)
        return cls(
            comparison=comparison,
            rows=tuple(_row(comparison, cell, differing.get(cell.label, {})) for cell in comparison.cells),
            columns=_chosen(comparison, names) if names else _filled(comparison, "always", "with room"),
            chosen=bool(names),
            exported=tuple(filled for column in about_cells for filled in column.filled(comparison, even_empty=True)),
            effects=_effects(comparison),
            steps=_steps(comparison),
            summary=summary(comparison),
            reference=f"{mean} {sd} SD" if sd else mean,
        )

    @property
    def sections(self) -> list[Section]:
        """The tables beside that of the cells: main effects or steps, where the design has them."""
        return [section for section in (self.effects, self.steps) if section is not None]

    @cached_property
    def smallest_detectable(self) -> float | None:
        return minimum_detectable_difference(self.comparison)

    @cached_property
    def observed_rho(self) -> float | None:
        return observed_rho(self.comparison)

    @cached_property
    def tuning(self) -> Tuning:
        return tuning(self.comparison)

    @cached_property
    def record(self) -> dict[str, list[str]]:
        """Hardware and versions of all runs."""
        return records(self.comparison)

    def shown(self, *when: Shown) -> tuple[FilledColumn, ...]:
        """The columns that are shown then, by lens: quality, stability, efficiency, of no lens."""
        order = [*LENSES, None]
        columns = self._in_full if "in full" in when else ()
        columns += tuple(column for column in self.columns if column.shown in when)
        if self.chosen:
            return columns
        return tuple(sorted(columns, key=lambda column: order.index(column.lens)))

    @cached_property
    def _in_full(self) -> tuple[FilledColumn, ...]:
        """The many columns of all that was measured, which few formats show."""
        return _filled(self.comparison, "in full")


def _filled(comparison: Comparison, *when: Shown) -> tuple[FilledColumn, ...]:
    return tuple(filled for column in COLUMNS if column.shown in when for filled in column.filled(comparison))


def _chosen(comparison: Comparison, names: Sequence[str]) -> tuple[FilledColumn, ...]:
    """The columns of these names, in their order; of a measure that no table shows, the mean."""
    by_name: dict[str, list[FilledColumn]] = {}
    for filled in _filled(comparison, "always", "with room", "in full"):
        by_name.setdefault(filled.name, []).append(filled)
    chosen = []
    for name in names:
        if name not in by_name:
            raise InputError(f"--columns {name}: not measured; allowed: {', '.join(by_name)}{nearest(name, by_name)}")
        in_tables = [column for column in by_name[name] if column.shown != "in full"]
        chosen += in_tables or [column for column in by_name[name] if column.kind == "mean"]
    return tuple(replace(column, shown="always") for column in chosen)


def measures_of(comparison: Comparison, lens: Lens) -> list[str]:
    """The measures of a lens that any cell has, the primary one first."""
    primary = comparison.primary.get(lens)
    names = [name for name in comparison.names if comparison.measures[name].lens == lens and comparison.measured(name)]
    return sorted(names, key=lambda name: name != primary)


def _row(comparison: Comparison, cell: CellComparison, differs: dict[str, float]) -> Row:
    mark = (labels.UNMATCHED if differs else "") + (labels.BESIDE if cell.beside else "")
    return Row(cell, labels.plain(cell.label), mark, differs, cell_note(comparison, cell))


DIFFERENCE, SHORT_DIFFERENCE = "difference [95 % interval]", "difference [95 %]"
_TITLES = {
    "training_step": "step time",
    "decode": "decode speed",
    "gradient_norm_max": "largest gradient",
    "attention_logit_max": "attention logit",
    "update_ratio_median": "update/weight",
    "flops_per_token": "FLOPs/token",
    "cache_bytes": "cache B",
    "cache_bytes_per_token": "cache B/token",
    "peak_memory_bytes": "memory B",
}


def _titles(comparison: Comparison, kind: Kind, name: str) -> tuple[str, str | None]:
    """The heading of a column, and its short form; a column of marks alone has none."""
    if kind == "verdict":
        return "verdict", ""
    if kind == "difference":
        return ("difference [interval]", None) if comparison.interim_looks else (DIFFERENCE, SHORT_DIFFERENCE)
    unit = comparison.measures[name].unit if name in comparison.measures else ""
    return _TITLES.get(name, labels.with_unit(name, unit)), "params" if name == PARAMETERS else None


def _verdicts(comparison: Comparison, name: str) -> list[Entry]:
    """Empty where all are identical, since a footnote says it of all."""
    if labels.identical_everywhere(comparison, name):
        return [Entry() for _ in comparison.cells]
    return entries.verdicts(comparison, name)


def _effects(comparison: Comparison) -> Section | None:
    """Main effects of the metric that the table is about, and all interactions."""
    if not labels.effects(comparison):
        return None
    effects = [*labels.effects(comparison), *labels.interactions(comparison)]
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    verdicts = tuple(Entry(labels.effect_verdict(comparison, effect)) for effect in effects)
    averaged = tuple(Entry(plural(effect.cells, "cell")) for effect in effects)
    columns = (
        _contrasts(comparison, contrasts),
        FilledColumn("verdict", "verdict", "verdict", verdicts),
        FilledColumn("averaged over", "words", "each over", averaged, shown="with room"),
    )
    return Section("main effect", tuple(map(labels.effect, effects)), columns)


def _steps(comparison: Comparison) -> Section | None:
    """Each cell against the one before it, where the design has such an order."""
    if not comparison.steps:
        return None
    column = _contrasts(comparison, [step.contrasts[comparison.metric] for step in comparison.steps])
    return Section("step by step", tuple(map(labels.step, comparison.steps)), (column,))


def _contrasts(comparison: Comparison, contrasts: Sequence[Contrast]) -> FilledColumn:
    written = tuple(entries.difference(comparison, contrast, comparison.metric) for contrast in contrasts)
    title, _ = _titles(comparison, "difference", comparison.metric)
    return FilledColumn(comparison.metric, "difference", title, written)


def _metric(comparison: Comparison) -> list[str]:
    return [comparison.metric]


def _compared(comparison: Comparison) -> list[str]:
    return [comparison.metric] if len(comparison.cells) > 1 else []


def _other_quality(comparison: Comparison) -> list[str]:
    return [name for name in comparison.other_quality if comparison.measured(name)]


def _primary(lens: Lens) -> Callable[[Comparison], list[str]]:
    return lambda comparison: [name] if (name := comparison.primary[lens]) else []


def _measured(*names: str) -> Callable[[Comparison], list[str]]:
    return lambda comparison: [name for name in names if comparison.measured(name)]


def _other_times(comparison: Comparison) -> list[str]:
    primary = comparison.primary["efficiency"]
    return [name for name in TIMED if name != primary and comparison.measured(name)]


def _speed(comparison: Comparison) -> list[str]:
    """The speed of runs side by side, where no training step was timed apart from training."""
    return [] if comparison.measured(TRAINING_STEP) else _measured(TOKENS_PER_SECOND)(comparison)


def _all_of(lens: Lens, compared: bool = False) -> Callable[[Comparison], list[str]]:
    def names(comparison: Comparison) -> list[str]:
        return [name for name in measures_of(comparison, lens) if not compared or name != TOKENS_PER_SECOND]

    return names


COLUMNS: Sequence[Column] = (
    Column("mean", entries.means, "quality", _metric),
    Column("difference", entries.differences, "quality", _compared),
    Column("verdict", _verdicts, "quality", _compared),
    Column("mean", entries.means, "quality", _other_quality, shown="with room"),
    Column("words", entries.stability, "stability", name="stability"),
    Column("mean", entries.three_digits, "stability", _primary("stability")),
    Column("verdict", _verdicts, "stability", _primary("stability")),
    Column(
        "mean",
        entries.three_digits,
        "stability",
        _measured("gradient_norm_max", "attention_logit_max", "update_ratio_median", "spikes"),
        shown="with room",
    ),
    Column("ratio", entries.ratios, "efficiency", _primary("efficiency")),
    Column("verdict", _verdicts, "efficiency", _primary("efficiency")),
    Column("count", entries.counts, "efficiency", _measured(PARAMETERS)),
    Column(
        "count",
        entries.counts,
        "efficiency",
        _measured(*(name for name in EXACT if name != PARAMETERS)),
        shown="with room",
    ),
    Column("ratio", entries.ratios, "efficiency", _other_times, shown="with room"),
    Column("count", entries.speeds, "efficiency", _speed, shown="with room"),
    Column("words", entries.runs, name="runs", exported=False),  # programs get the counts themselves
    *(Column("mean", entries.means, lens, _all_of(lens), shown="in full") for lens in LENSES),
    *(
        Column("difference", entries.differences, lens, _all_of(lens, compared=True), shown="in full")
        for lens in LENSES
    ),
    *(Column("verdict", _verdicts, lens, _all_of(lens, compared=True), shown="in full") for lens in LENSES),
)
"""All columns, within a lens in the order in which they are shown."""
