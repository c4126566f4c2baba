"""The table in the terminal.

All words reach rich as ``Text``, never as markup, so that no label or message can steer it. Where the terminal is
narrow, the least needed columns are shortened, then left out, until the labels have room. Labels may fold, numbers not.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..analysis import CellComparison, Comparison, Contrast
from ..analysis.comparison import PARAMETERS, TOKENS_PER_SECOND
from ..analysis.contrast import plural
from . import numbers, words

NARROWEST = 60
WIDE = 120
_GAP = 2
_SHORTEST_LABEL = 8
_DIFFERENCE = "difference [95 % interval]"


@dataclass(frozen=True)
class _Column:
    title: str
    texts: Sequence[Text]
    right: bool = False

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in [self.title, *map(str, self.texts)] for line in text.split("\n"))


def render(comparison: Comparison, width: int = 80) -> RenderableType:
    """The comparison for a terminal of ``width`` columns; below 60 it is laid out as for 60."""
    width = max(width, NARROWEST)
    parts: list[RenderableType] = [
        Text(words.plain(comparison.grid), "bold"),
        Text(f"{words.heading(comparison)} · {words.size(comparison)}", "dim"),
        Text(),
        _cells(comparison, width),
    ]
    if words.effects(comparison):
        parts += [Text(), _effects(comparison, width)]
    return Group(*parts, Text(), _notes(words.notes(comparison)))


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the comparison as wide as the terminal is."""
    console = console or Console()
    console.print(render(comparison, console.width))


def draw(comparison: Comparison, width: int = 100) -> str:
    """The same as an SVG picture."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(comparison, width))
    return console.export_svg(title=f"ablate table {words.plain(comparison.grid)}")


def _cells(comparison: Comparison, width: int) -> Table:
    labels = [Text(words.plain(cell.label)) for cell in comparison.cells]
    labels[0] = Text.assemble(("baseline: ", "bold"), labels[0])
    wide = width >= WIDE
    others = comparison.cells[1:]
    quality = comparison.other_quality if wide else ()
    # Each column in its forms, the fullest first ...
    forms = {
        "mean": [_means(comparison, comparison.metric, spread=True)] if wide else [],
        "difference": [_differences_to_baseline(comparison, with_mean=not wide)] if not wide or others else [],
        **{name: [_means(comparison, name, spread) for spread in (True, False)] for name in quality},
        PARAMETERS: [_parameters(comparison, in_full) for in_full in (True, False)],
        TOKENS_PER_SECOND: [_speed(comparison, in_full) for in_full in (True, False)],
        "runs": [_runs(comparison, between) for between in (" ", "\n")],
    }
    for name in (PARAMETERS, TOKENS_PER_SECOND, *quality):
        if not comparison.measured(name):
            forms[name].clear()
    # ... the order in which they give way to a shorter form, and what is left out where even that does not help.
    longest = max(cell_len(label.plain) for label in labels)
    shortened = [*reversed(quality), *reversed(quality), PARAMETERS, "runs", TOKENS_PER_SECOND]
    for names, wanted in ((shortened, max(24, width // 4)), ([TOKENS_PER_SECOND, PARAMETERS], 16)):
        for name in names:
            if _room([form[0] for form in forms.values() if form], width) < min(longest, wanted):
                del forms[name][:1]
    return _table("cell", labels, [form[0] for form in forms.values() if form], width, apart=1)


def _effects(comparison: Comparison, width: int) -> Table:
    effects = words.effects(comparison)
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    averaged = [Text(f"{plural(effect.cells, 'cell')} each", "dim") for effect in effects]
    columns = [_Column(_DIFFERENCE, _differences(comparison, contrasts)), _Column("averaged over", averaged)]
    return _table("main effect", [Text(words.effect(effect)) for effect in effects], columns, width, apart=0)


def _differences_to_baseline(comparison: Comparison, with_mean: bool) -> _Column:
    ((mean, sd),) = numbers.means([comparison.baseline.metrics[comparison.metric]])
    reference = f"  {mean} {sd} SD" if sd else f"  {mean}"
    contrasts = [contrast for cell in comparison.cells if (contrast := cell.metrics[comparison.metric].contrast)]
    title = _DIFFERENCE if contrasts else words.metric_name(comparison.metric)
    return _Column(title, [Text(reference if with_mean else "", "bold"), *_differences(comparison, contrasts)])


def _differences(comparison: Comparison, contrasts: Sequence[Contrast]) -> list[Text]:
    written = words.differences(comparison, contrasts)
    deltas = numbers.aligned([delta for delta, _ in written])
    return [
        Text(f"{words.sign(contrast):1} {delta} {beside}", _weight(contrast))
        for contrast, delta, (_, beside) in zip(contrasts, deltas, written, strict=True)
    ]


def _weight(contrast: Contrast) -> str:
    if contrast.interval is None:
        return "dim"
    return "bold" if contrast.excludes_zero else ""


def _means(comparison: Comparison, name: str, spread: bool) -> _Column:
    written = numbers.means([cell.metrics[name] for cell in comparison.cells])
    means = numbers.aligned([mean for mean, _ in written])
    texts = [f"{mean} {sd}" if spread else mean for mean, (_, sd) in zip(means, written, strict=True)]
    return _Column(words.metric_name(name), [Text(text) for text in texts])


def _parameters(comparison: Comparison, in_full: bool) -> _Column:
    texts = [words.cost(comparison, cell, PARAMETERS, in_full) for cell in comparison.cells]
    return _Column("parameters" if in_full else "params", [Text(text) for text in texts], right=True)


def _speed(comparison: Comparison, in_full: bool) -> _Column:
    texts = [words.cost(comparison, cell, TOKENS_PER_SECOND, in_full) for cell in comparison.cells]
    return _Column("tokens/s", [Text(text) for text in texts], right=True)


def _runs(comparison: Comparison, between: str) -> _Column:
    return _Column("runs", [_counts(cell, between) for cell in comparison.cells])


def _counts(cell: CellComparison, between: str) -> Text:
    completed, *others = words.runs(cell)
    return Text(between.join([completed, *others]), "yellow" if others else "")


def _room(columns: Sequence[_Column], width: int) -> int:
    """What the columns leave to the labels."""
    return width - sum(column.width + _GAP for column in columns)


def _table(title: str, labels: Sequence[Text], columns: Sequence[_Column], width: int, apart: int) -> Table:
    """The first ``apart`` rows stand apart from the others by an empty line."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="dim")
    longest = max(cell_len(text) for text in [title, *map(str, labels)])
    table.add_column(title, width=min(longest, max(_SHORTEST_LABEL, _room(columns, width))), overflow="fold")
    for column in columns:
        table.add_column(column.title, width=column.width, no_wrap=True, justify="right" if column.right else "left")
    for row, label in enumerate(labels):
        table.add_row(label, *(column.texts[row] for column in columns))
        if row + 1 == apart < len(labels):
            table.add_section()
    return table


def _notes(lines: Sequence[str]) -> Table:
    """One note a line; what does not fit goes on below itself, indented."""
    notes = Table.grid(padding=(0, 1))
    notes.add_column(width=1)
    notes.add_column(overflow="fold")
    for line in lines:
        notes.add_row(Text("-", "dim"), Text(line, "dim"))
    return notes
