"""The table in the terminal: the summary, the cells under each lens, main effects or steps, and footnotes.

A wide terminal shows all lenses in one table, a narrow one each lens in a table of its own.

All texts reach rich as ``Text``, never as markup, so that no label or message can control it.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...compare.measures import LENSES
from ...stats.contrast import plural
from .. import labels
from ..entries import Entry
from ..footnotes import notes
from ..paging import Line, page, printed, render_lines
from ..table import FilledColumn, Sections, TableData
from .fitted import fitted, words_of

NARROWEST = 40
WIDE = 140
LONGEST_BASELINE = 2
"""The baseline's label stands above the tables where it is longer than this part of the width."""
_FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


def render(table: TableData, width: int = 80) -> RenderableType:
    """The table for a terminal of ``width`` columns; below 40 it is laid out as for 40."""
    layout = _Page(table, max(width, NARROWEST))
    parts: list[RenderableType] = [layout.title, Text(table.summary), *layout.head]
    for part in layout.tables:
        parts += [Text(), part]
    return Group(*parts, Text(), _notes(layout.notes))


def render_sections(sections: Sections, width: int = 80) -> RenderableType:
    """Several tables with the words around them, for a terminal of ``width`` columns."""
    width = max(width, NARROWEST)
    parts: list[RenderableType] = [Text(sections.title, "bold"), Text(sections.summary), Text(sections.heading, "dim")]
    for section in sections.tables:
        parts += [Text(), fitted(section.title, [Text(label) for label in section.labels], section.columns, width)]
    return Group(*parts, Text(), _notes(sections.notes))


def show_sections(sections: Sections, console: Console | None = None) -> None:
    """Print them as wide as the terminal is, page by page where they are longer."""
    console = console or Console()
    width = max(console.width, NARROWEST)
    lines = render_lines(render_sections(sections, width), console, console.options.update_width(width))
    page(printed(lines, console), console)


def texts(table: TableData, console: Console, height: int | None = None, options: str = "") -> tuple[str, str]:
    """The table as wide as the terminal is; below it what could be typed next, and once more what came out.

    A long table has moved that off the screen. With ``height``, what does not fit into so many lines is left out, notes
    first and cells last, which the line on what to type says. ``options`` are those that what to type needs.
    """
    width = max(console.width, NARROWEST)  # a narrower terminal breaks the lines itself, rather than lose numbers
    layout = console.options.update_width(width)
    lines = render_lines(render(table, width), console, layout)
    ending = render_lines(Group(*_ending(table, options)), console, layout)
    if height is not None and len(lines) + len(ending) > height:
        lines, ending = _fitting(table, console, layout, height, options)
    return printed(lines, console), printed(ending, console)


def draw(table: TableData, width: int = 100) -> str:
    """The same as an SVG picture, with the fonts of whoever looks at it: it fetches none."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(table, width))
    title = f"ablate table {labels.plain(table.comparison.grid)}"
    return console.export_svg(title=title, code_format=_FONT_FACE.sub("", CONSOLE_SVG_FORMAT))


def _ending(table: TableData, options: str, left_out: Sequence[str] = ()) -> list[RenderableType]:
    """What could be typed next, and once more what came out."""
    name, given = labels.plain(table.comparison.grid), f" {labels.plain(options)}" if options else ""
    rest = f"`ablate table {name}{given}` shows the rest ({', '.join(left_out)}), " if left_out else ""
    explain, report = f"`ablate explain {name} CELL{given}`", f"`ablate report {name}{given}`"
    hint = f"Next: {rest}{explain} says why, {report} writes a page of figures."
    return [Text(), Text(hint, "dim"), Text(table.summary, "bold")]


class _Page:
    """The parts of what is shown."""

    def __init__(self, table: TableData, width: int):
        comparison, self.width = table.comparison, width
        self.title = Text(labels.plain(comparison.grid), "bold")
        self.head = [Text(f"{labels.heading(comparison)} · {labels.size(comparison)}", "dim")]
        names = [Text(row.marked) for row in table.rows]
        baseline = Text.assemble(("baseline: ", "bold"), names[0])
        if cell_len(baseline.plain) > width // LONGEST_BASELINE and len(names) > 1:
            self.head.append(baseline)  # once, rather than folded in each table
            baseline = Text("baseline", "bold")
        names[0] = baseline
        self.names = names
        self.lenses: Sequence[tuple[str, Sequence[FilledColumn]]] = (
            [("cell", table.shown("always", "with room"))] if width >= WIDE else list(_by_lens(table))
        )
        self.titles = [title for title, _ in self.lenses]
        self.tables = [fitted(title, names, columns, width, True) for title, columns in self.lenses]
        for section in table.sections:
            names = [Text(label) for label in section.labels]
            self.titles.append(f"{section.title}s" if len(names) > 1 else section.title)
            self.tables.append(fitted(section.title, names, section.columns, width))
        self.notes = notes(comparison, "\n".join(map(words_of, self.tables)), brief=True)

    def first_table(self, most: int) -> RenderableType:
        """The first table with so many cells."""
        if most == len(self.names):
            return self.tables[0]
        title, columns = self.lenses[0]
        first = [replace(column, entries=column.entries[:most]) for column in columns]
        return fitted(title, self.names[:most], first, self.width, True)


def _fitting(
    table: TableData, console: Console, layout: ConsoleOptions, height: int, options: str
) -> tuple[list[Line], list[Line]]:
    """The lines of the first table with as many cells as fit, then of tables that fit whole; and the ending."""
    whole = _Page(table, layout.max_width)
    head = render_lines(Group(whole.title, *whole.head, Text()), console, layout)
    most = min(len(table.rows), max(2, height))
    while True:
        cells = len(table.rows) - most
        left_out = [plural(cells, "more cell")] if cells else []
        left_out += [*whole.titles[1:], plural(len(whole.notes), "note")]
        lines = head + render_lines(whole.first_table(most), console, layout)
        ending = render_lines(Group(*_ending(table, options, left_out)), console, layout)
        if len(lines) + len(ending) <= height or most <= 2:
            break
        most -= 1
    further = iter(whole.tables[1:])
    while not cells and (part := next(further, None)) is not None:
        more = render_lines(Group(Text(), part), console, layout)
        if len(lines) + len(more) + len(ending) > height:
            break
        lines += more
        del left_out[0]
        ending = render_lines(Group(*_ending(table, options, left_out)), console, layout)
    return lines, ending


def _by_lens(table: TableData) -> Iterator[tuple[str, list[FilledColumn]]]:
    """A table for each lens; in that of quality the baseline's mean takes the place of the column of means."""
    columns, metric = table.shown("always", "with room"), table.comparison.metric
    for lens in LENSES:
        of_lens = [column for column in columns if column.lens == lens]
        if lens == "quality":
            others = [column for column in of_lens if column.kind != "mean"]
            if table.chosen:
                others = [column for column in of_lens if column.kind != "mean" or column.name != metric or not others]
            differences = [_with_reference(table, column) for column in others]
            of_lens = [*(differences or of_lens[:1]), *(column for column in columns if column.lens is None)]
        if of_lens:
            yield lens, of_lens


def _with_reference(table: TableData, column: FilledColumn) -> FilledColumn:
    if column.kind != "difference":
        return column
    return replace(column, entries=(Entry(detail=table.reference), *column.entries[1:]))


def _notes(lines: Sequence[str]) -> Table:
    """One note a line; what does not fit goes on below itself, indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(Text("-", "dim"), Text(line, "dim"))
    return grid
