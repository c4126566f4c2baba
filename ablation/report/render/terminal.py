"""The table in the terminal: the summary, the cells under each lens, main effects or steps, and footnotes.

A wide terminal shows all lenses in one table, a narrow one each lens in a table of its own. Where the labels have no
room, columns are shortened and then left out, the least important first. Labels may fold between words, numbers may
not: where even a word of a label has no room, labels stand in lines of their own.

All texts reach rich as ``Text``, never as markup, so that no label or message can control it.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich import box
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment, SegmentLines
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ...compare.measures import LENSES
from ...stats.contrast import plural
from .. import labels, numbers
from ..entries import Entry
from ..footnotes import notes
from ..many import LONGEST_WORD, MANY
from ..paging import Line, render_lines
from ..table import FilledColumn, Sections, TableData

NARROWEST = 40
WIDE = 140
GAP = 2
SHORTEST_LABEL = 8
LONGEST_BASELINE = 2
"""The baseline's label stands above the tables where it is longer than this part of the width."""
_STYLES = {"uncertain": "dim", "incomplete": "yellow"}
_FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)


def render(table: TableData, width: int = 80) -> RenderableType:
    """The table for a terminal of ``width`` columns; below 40 it is laid out as for 40."""
    page = _Page(table, max(width, NARROWEST))
    parts: list[RenderableType] = [page.title, Text(table.summary), *page.head]
    for part in page.tables:
        parts += [Text(), part]
    return Group(*parts, Text(), _notes(page.notes))


def render_sections(sections: Sections, width: int = 80) -> RenderableType:
    """Several tables with the words around them, for a terminal of ``width`` columns."""
    width = max(width, NARROWEST)
    parts: list[RenderableType] = [Text(sections.title, "bold"), Text(sections.summary), Text(sections.heading, "dim")]
    for section in sections.tables:
        parts += [Text(), _fitted(section.title, [Text(label) for label in section.labels], section.columns, width)]
    return Group(*parts, Text(), _notes(sections.notes))


def show_sections(sections: Sections, console: Console | None = None) -> None:
    """Print them as wide as the terminal is."""
    console = console or Console()
    width = max(console.width, NARROWEST)
    lines = render_lines(render_sections(sections, width), console, console.options.update_width(width))
    console.file.write(_printed(lines, console))


def show(table: TableData, console: Console | None = None, height: int | None = None) -> None:
    """Print the table as wide as the terminal is; below it what could be typed next, and once more what came out.

    A long table has moved that off the screen. With ``height``, what does not fit into so many lines is left out, notes
    first and cells last, which the line on what to type says.
    """
    console = console or Console()
    for part in texts(table, console, height):
        console.file.write(part)


def texts(table: TableData, console: Console, height: int | None = None) -> tuple[str, str]:
    """What ``show`` prints: the table, and what follows it."""
    width = max(console.width, NARROWEST)  # a narrower terminal breaks the lines itself, rather than lose numbers
    options = console.options.update_width(width)
    lines = render_lines(render(table, width), console, options)
    ending = render_lines(Group(*_ending(table)), console, options)
    if height is not None and len(lines) + len(ending) > height:
        lines, ending = _fitting(table, console, options, height)
    return _printed(lines, console), _printed(ending, console)


def _printed(lines: list[Line], console: Console) -> str:
    with console.capture() as capture:
        console.print(SegmentLines(lines, new_lines=True), end="", crop=False, soft_wrap=True)
    return capture.get()


def draw(table: TableData, width: int = 100) -> str:
    """The same as an SVG picture, with the fonts of whoever looks at it: it fetches none."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(render(table, width))
    title = f"ablate table {labels.plain(table.comparison.grid)}"
    return console.export_svg(title=title, code_format=_FONT_FACE.sub("", CONSOLE_SVG_FORMAT))


def _ending(table: TableData, left_out: Sequence[str] = ()) -> list[RenderableType]:
    """What could be typed next, and once more what came out."""
    name = labels.plain(table.comparison.grid)
    rest = f"`ablate table {name}` shows the rest ({', '.join(left_out)}), " if left_out else ""
    hint = f"Next: {rest}`ablate explain {name} CELL` says why, `ablate report {name}` writes a page of figures."
    return [Text(), Text(hint, "dim"), Text(table.summary, "bold")]


class _Page:
    """The parts of what is shown, of the first cells only where ``most`` says so."""

    def __init__(self, table: TableData, width: int, most: int | None = None):
        comparison = table.comparison
        self.title = Text(labels.plain(comparison.grid), "bold")
        self.head = [Text(f"{labels.heading(comparison)} · {labels.size(comparison)}", "dim")]
        names = [Text(row.marked) for row in table.rows[:most]]
        baseline = Text.assemble(("baseline: ", "bold"), names[0])
        if cell_len(baseline.plain) > width // LONGEST_BASELINE and len(names) > 1:
            self.head.append(baseline)  # once, rather than folded in each table
            baseline = Text("baseline", "bold")
        names[0] = baseline
        layouts = [("cell", table.shown("always", "with room"))] if width >= WIDE else list(_by_lens(table))
        self.titles = [title for title, _ in layouts]
        self.tables = [_fitted(title, names, _first_entries(columns, most), width, True) for title, columns in layouts]
        for section in (table.effects, table.steps):
            if section is not None:
                names = [Text(label) for label in section.labels]
                self.titles.append(f"{section.title}s" if len(names) > 1 else section.title)
                self.tables.append(_fitted(section.title, names, section.columns, width))
        self.notes = notes(comparison, "\n".join(map(_text, self.tables)), brief=True)


def _first_entries(columns: Sequence[FilledColumn], most: int | None) -> Sequence[FilledColumn]:
    return columns if most is None else [replace(column, entries=column.entries[:most]) for column in columns]


def _fitting(table: TableData, console: Console, options: ConsoleOptions, height: int) -> tuple[list[Line], list[Line]]:
    """The lines of the first table with as many cells as fit, then of tables that fit whole; and the ending."""
    whole = _Page(table, options.max_width)
    most = min(len(table.rows), max(2, height))
    while True:
        page = whole if most == len(table.rows) else _Page(table, options.max_width, most)
        cells = len(table.rows) - most
        left_out = [plural(cells, "more cell")] if cells else []
        left_out += [*page.titles[1:], plural(len(page.notes), "note")]
        lines = render_lines(Group(page.title, *page.head, Text(), page.tables[0]), console, options)
        ending = render_lines(Group(*_ending(table, left_out)), console, options)
        if len(lines) + len(ending) <= height or most <= 2:
            break
        most -= 1
    further = iter(page.tables[1:])
    while not cells and (part := next(further, None)) is not None:
        more = render_lines(Group(Text(), part), console, options)
        if len(lines) + len(more) + len(ending) > height:
            break
        lines += more
        del left_out[0]
        ending = render_lines(Group(*_ending(table, left_out)), console, options)
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


def _fitted(
    title: str, names: Sequence[Text], columns: Sequence[FilledColumn], width: int, first_apart: bool = False
) -> "Table | ManyLines":
    """The table with columns shortened or left out until the labels have room."""
    forms = [_forms(column) for column in columns]
    longest = max(cell_len(name.plain) for name in names)
    needed = max(_longest_word(names), min(longest, max(24, width // 4)))
    for index in sorted(range(len(columns)), key=lambda index: (_importance(columns[index]), -index)):
        while len(forms[index]) > 1 and (index or forms[0][1]) and _room(_first(forms), width) < needed:
            del forms[index][0]
    return _table(title, names, _first(forms), width, first_apart)


def _longest_word(names: Sequence[Text]) -> int:
    """The width that labels need to be broken between words only, or in words that are very long."""
    return min(LONGEST_WORD, max((cell_len(word) for name in names for word in name.plain.split()), default=0))


def _importance(column: FilledColumn) -> int:
    """Further measures of quality give way first, the verdict on the metric last."""
    if column.lens == "quality":
        return 0 if column.shown == "with room" else 3
    return 1 if column.lens == "stability" else 2


class _Form:
    """A column as it is printed: heading and texts."""

    def __init__(self, column: FilledColumn, brief: bool):
        self.title = column.short_title if brief and column.short_title is not None else column.title
        brief = brief and column.kind != "difference"  # which always has its interval
        self.right = column.kind == "count" or (column.kind == "mean" and column.lens != "quality")
        entries = column.entries
        texts = [entry.brief for entry in entries] if brief else [entry.text for entry in entries]
        if column.kind in ("mean", "difference") and not self.right:
            texts = _aligned(texts)
        if not brief:
            texts = [
                f"{text} {entry.detail}".rstrip() if text or entry.detail else ""
                for text, entry in zip(texts, entries, strict=True)
            ]
        styles = [_STYLES.get(entry.style, "") for entry in entries]
        self.texts = [Text(text, style) for text, style in zip(texts, styles, strict=True)]

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in [self.title, *map(str, self.texts)] for line in text.split("\n"))


def _forms(column: FilledColumn) -> list[_Form | None]:
    """The fullest first; None last where the column may be left out."""
    forms: list[_Form | None] = [_Form(column, brief=False)]
    if column.kind == "difference" or any(entry.brief != entry.full for entry in column.entries):
        forms.append(_Form(column, brief=True))
    return [*forms, None] if column.shown == "with room" else forms


def _aligned(texts: Sequence[str]) -> list[str]:
    """At their decimal points; empty texts stay empty."""
    aligned = iter(numbers.aligned([text for text in texts if text]))
    return [next(aligned) if text else "" for text in texts]


def _first(forms: Sequence[Sequence[_Form | None]]) -> list[_Form]:
    return [form[0] for form in forms if form[0] is not None]


def _room(forms: Sequence[_Form], width: int) -> int:
    """What the columns leave to the labels."""
    return width - sum(form.width + GAP for form in forms)


def _table(
    title: str, names: Sequence[Text], forms: Sequence[_Form], width: int, first_apart: bool
) -> "Table | ManyLines":
    longest = max(cell_len(text) for text in [title, *map(str, names)])
    if _room(forms, width) < _longest_word(names):
        return ManyLines(title, names, forms, 0, first_apart, above=width)
    label_width = min(longest, max(SHORTEST_LABEL, _room(forms, width)))
    if len(names) > MANY and label_width + sum(form.width + GAP for form in forms) <= width:
        return ManyLines(title, names, forms, label_width, first_apart)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="dim")
    table.add_column(title, width=label_width, overflow="fold")
    for form in forms:
        table.add_column(Text(form.title), width=form.width, no_wrap=True, justify="right" if form.right else "left")
    for index, name in enumerate(names):
        table.add_row(name, *(form.texts[index] for form in forms))
        if first_apart and index == 0 and len(names) > 1:
            table.add_section()
    return table


class ManyLines:
    """A table of very many rows whose widths are known, as rich lays it out, in a fraction of the time.

    With ``above``, labels stand above their numbers, in lines of so many columns, which rich cannot do.
    """

    def __init__(
        self,
        title: str,
        names: Sequence[Text],
        forms: Sequence[_Form],
        label_width: int,
        first_apart: bool,
        above: int = 0,
    ):
        self.title, self.names, self.forms = title, names, forms
        self.label_width, self.first_apart, self.above = label_width, first_apart, above

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [form.width for form in self.forms]
        total = self.label_width + sum(width + GAP for width in widths)
        rule, newline = Segment("\N{BOX DRAWINGS LIGHT HORIZONTAL}" * total), Segment.line()
        if self.above:
            yield from (Segment(self.title, Style(dim=True)), newline)
        title = "" if self.above else self.title
        yield Segment(self._line(title, [form.title for form in self.forms], widths), Style(dim=True))
        yield from (newline, rule, newline)
        for index, name in enumerate(self.names):
            if self.above:
                for line in name.wrap(console, self.above, overflow="fold"):
                    yield from (*line.render(console), newline)
            folded = [Text()] if self.above else self._folded(console, name)
            columns = [form.texts[index] for form in self.forms]
            lines = [text.plain.split("\n") for text in columns]
            styled = bool(name.spans) or any(text.style for text in columns)
            for number in range(max(len(folded), *map(len, lines)) if lines else len(folded)):
                label = folded[number] if number < len(folded) else Text()
                texts = [of_cell[number] if number < len(of_cell) else "" for of_cell in lines]
                if styled:
                    yield from self._styled(console, label, texts, columns, widths)
                else:
                    yield Segment(self._line(label.plain, texts, widths))
                yield newline
            if self.first_apart and index == 0:
                yield from (Segment(" " * total), newline)

    def _folded(self, console: Console, name: Text) -> Sequence[Text]:
        if cell_len(name.plain) <= self.label_width:
            return [name]
        return list(name.wrap(console, self.label_width, overflow="fold"))

    def _line(self, label: str, texts: Sequence[str], widths: Sequence[int]) -> str:
        parts = [_padded(label, self.label_width, right=False)]
        for text, form, width in zip(texts, self.forms, widths, strict=True):
            parts.append(_padded(text, width, form.right))
        return (" " * GAP).join(parts)

    def _styled(
        self, console: Console, label: Text, texts: Sequence[str], columns: Sequence[Text], widths: Sequence[int]
    ) -> Iterator[Segment]:
        yield from label.render(console)
        yield Segment(" " * (self.label_width - cell_len(label.plain)))
        for text, column, form, width in zip(texts, columns, self.forms, widths, strict=True):
            yield Segment(" " * GAP)
            yield Segment(_padded(text, width, form.right), console.get_style(column.style))


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * (width - cell_len(text))
    return gap + text if right else text + gap


def _text(table: "Table | ManyLines") -> str:
    """All its words, a cell a line."""
    if isinstance(table, ManyLines):
        texts = (text.plain for form in table.forms for text in form.texts)
        return "\n".join([table.title, *(form.title for form in table.forms), *texts])
    return "\n".join(str(cell) for column in table.columns for cell in (column.header, *column.cells))


def _notes(lines: Sequence[str]) -> Table:
    """One note a line; what does not fit goes on below itself, indented."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row(Text("-", "dim"), Text(line, "dim"))
    return grid
