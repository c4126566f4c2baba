"""The table in the terminal.

First what came out, in words; then the cells, the baseline first, under each lens; then the main effects or steps, and
notes. A wide terminal shows all lenses in one table, a narrow one each lens in a table of its own.

All words reach rich as ``Text``, never as markup, so that no label or message can steer it. Where the terminal is
narrow, the least needed columns are shortened, then left out, until the labels have room. Labels may fold, numbers not.
"""

import io
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...compare.records import Comparison
from ...stats.contrast import plural
from .. import columns, labels
from ..columns import Column, Sheet
from ..footnotes import brief
from ..summary import summary

NARROWEST = 60
WIDE = 140


def render(comparison: Comparison, width: int = 80) -> RenderableType:
    """The comparison for a terminal of ``width`` columns; below 60 it is laid out as for 60."""
    width = max(width, NARROWEST)
    parts: list[RenderableType] = [
        Text(labels.plain(comparison.grid), "bold"),
        Text(summary(comparison)),
        Text(f"{labels.heading(comparison)} · {labels.size(comparison)}", "dim"),
    ]
    names = columns.cell_labels(comparison)
    tables = [sheet.fitted(names, width) for sheet in columns.sheets(comparison, wide=width >= WIDE)]
    tables += [_effects(comparison, width)] if labels.effects(comparison) else []
    tables += [_steps(comparison, width)] if comparison.steps else []
    for table in tables:
        parts += [Text(), table]
    return Group(*parts, Text(), _notes(brief(comparison, "\n".join(map(_text, tables)))))


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the comparison as wide as the terminal is."""
    console = console or Console()
    console.print(render(comparison, console.width))


def draw(comparison: Comparison, width: int = 100) -> str:
    """The same as an SVG picture."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(comparison, width))
    return console.export_svg(title=f"ablate table {labels.plain(comparison.grid)}")


def _effects(comparison: Comparison, width: int) -> Table:
    effects = [*labels.effects(comparison), *labels.interactions(comparison)]
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    verdicts = [Text(labels.effect_verdict(comparison, effect)) for effect in effects]
    averaged = [Text(plural(effect.cells, "cell"), "dim") for effect in effects]
    written = Column(columns.difference_title(comparison), columns.differences(comparison, contrasts))
    forms: list[columns.Forms] = [[written], [Column("verdict", verdicts)], [Column("each over", averaged), None]]
    sheet = Sheet("main effect", forms, gives_way=[2], apart=0)
    return sheet.fitted([Text(labels.effect(effect)) for effect in effects], width)


def _steps(comparison: Comparison, width: int) -> Table:
    contrasts = [step.contrasts[comparison.metric] for step in comparison.steps]
    written = Column(columns.difference_title(comparison), columns.differences(comparison, contrasts))
    sheet = Sheet("step by step", [[written]], apart=0)
    return sheet.fitted([Text(labels.step(step)) for step in comparison.steps], width)


def _text(table: Table) -> str:
    """All its words, a cell a line."""
    return "\n".join(str(cell) for column in table.columns for cell in (column.header, *column.cells))


def _notes(lines: Sequence[str]) -> Table:
    """One note a line; what does not fit goes on below itself, indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(Text("-", "dim"), Text(line, "dim"))
    return grid
