"""The comparison as a table of the page: one row per cell, its measures under their lenses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...compare.families import best, repeats_sensitivity
from ...compare.measures import LENSES, PARAMETERS, TOKENS_PER_SECOND, Lens, Measure
from ...compare.records import Comparison, MetricComparison
from .. import labels, numbers
from ..provenance import mark
from .data import ReportData
from .lenses import TITLES, change, named, tone, verdict


@dataclass(frozen=True)
class Entry:
    """What one cell has of one measure; empty texts where there is nothing to say."""

    title: str
    """The heading of its column, which a narrow page repeats beside it."""
    mean: str
    spread: str
    best: bool = False
    """Whether it is the best mean or cannot be told from it."""
    difference: str = ""
    interval: str = ""
    verdict: str = ""
    tone: str = "open"
    more: str = ""
    """What would settle an undecided one."""
    hint: str = ""


@dataclass(frozen=True)
class Row:
    """One cell; ``runs`` are ``3/3``, ``+1 diverged``."""

    name: str
    mark: str
    """Of a cell that is not matched, or empty."""
    entries: Sequence[Entry]
    runs: Sequence[str]


@dataclass(frozen=True)
class Table:
    """``lenses`` are the groups of columns with how many they hold; the first row is the baseline's."""

    lenses: Sequence[tuple[str, int]]
    titles: Sequence[str]
    rows: Sequence[Row]


def overview(material: ReportData) -> Table:
    """Of each lens the measure that its verdicts rest on, whether training was stable, what each cell weighs."""
    comparison = material.comparison
    groups = {lens: [_column(comparison, name) for name in _headline(comparison, lens)] for lens in LENSES}
    standing = [Entry("training", labels.stability(cell), "") for cell in comparison.cells]
    if any(entry.mean for entry in standing):
        groups["stability"].insert(0, standing)
    return _table(material, groups)


def in_full(material: ReportData) -> dict[str, Table]:
    """Everything that was measured, by the title of its lens."""
    comparison = material.comparison
    columns = {
        lens: [_column(comparison, name) for name in named(comparison, lens, everything=True)] for lens in LENSES
    }
    return {TITLES[lens]: _table(material, {lens: found}) for lens, found in columns.items() if found}


def _headline(comparison: Comparison, lens: Lens) -> list[str]:
    names = [name for name in named(comparison, lens) if name != TOKENS_PER_SECOND]
    primary = comparison.primary.get(lens)
    # Where the primary measure was not taken, something with a good direction says more than nothing.
    shown = [name for name in names if name == primary or comparison.measures[name].better is not None][:1]
    if lens == "efficiency" and PARAMETERS in names:
        shown = list(dict.fromkeys([*shown, PARAMETERS]))
    return shown


def _table(material: ReportData, groups: Mapping[Lens, Sequence[Sequence[Entry]]]) -> Table:
    columns = [column for found in groups.values() for column in found]
    rows = [
        Row(
            material.names[cell.label],
            mark(material.comparison, cell),
            [column[place] for column in columns],
            labels.runs(cell),
        )
        for place, cell in enumerate(material.comparison.cells)
    ]
    lenses = [(TITLES[lens], len(found)) for lens, found in groups.items() if found]
    return Table(lenses, [column[0].title for column in columns], rows)


def _column(comparison: Comparison, name: str) -> list[Entry]:
    measure, title = comparison.measures[name], labels.metric_name(name)
    metrics = [cell.metrics[name] for cell in comparison.cells]
    written = numbers.means(metrics)
    if measure.kind == "timed":
        unit = comparison.bench.get("measures", {}).get(name, {}).get("unit", "")
        written = [(numbers.ABSENT if m.mean is None else numbers.short_time(m.mean, unit), "") for m in metrics]
    if measure.kind == "exact":
        written = [(numbers.ABSENT if m.mean is None else numbers.grouped(m.mean), "") for m in metrics]
    base, top = metrics[0], best(comparison) if name == comparison.metric else frozenset()
    decimals = numbers.second_digit(base.sd) if base.sd else numbers.four_digits(base.mean or 0.0)
    return [
        Entry(title, mean, spread, more="of all rates together")
        if repeats_sensitivity(comparison, cell, name)
        else _entry(measure, cell.metrics[name], Entry(title, mean, spread, cell.label in top), decimals)
        for cell, (mean, spread) in zip(comparison.cells, written, strict=True)
    ]


def _entry(measure: Measure, metric: MetricComparison, entry: Entry, decimals: int) -> Entry:
    contrast = metric.contrast
    if contrast is None or contrast.delta is None or measure.name == TOKENS_PER_SECOND:
        return replace(entry, hint="" if contrast is None else labels.plain(contrast.note or ""))
    if measure.kind == "exact":
        amount = numbers.grouped(contrast.delta) if contrast.delta < 0 else f"+{numbers.grouped(contrast.delta)}"
        said = replace(entry, verdict=verdict(measure, metric), tone=tone(measure, metric))
        return replace(said, difference=amount) if contrast.delta else said
    percent = " %" if measure.ratio else ""
    ends = contrast.interval and (change(measure, contrast.interval[0]), change(measure, contrast.interval[1]))
    shown = replace(contrast, delta=change(measure, contrast.delta), interval=ends)
    difference, interval = numbers.difference(shown, 1 if measure.ratio else decimals)
    judged = metric.verdict
    return replace(
        entry,
        difference=difference + percent,
        interval=interval and interval + percent,
        verdict=verdict(measure, metric),
        tone=tone(measure, metric),
        more=_more(judged.more_seeds) if judged else "",
        hint=labels.plain(judged.sentence if judged else contrast.note or ""),
    )


def _more(seeds: tuple[int, int] | None) -> str:
    if seeds is None:
        return ""
    few, many = seeds
    return f"about {few} more seeds" if few == many else f"about {few} to {many} more seeds"
