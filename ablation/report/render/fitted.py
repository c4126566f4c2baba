"""A table in a terminal whose columns are shortened and then left out, the least important first, until labels fit.

Labels may fold between words, numbers may not: where even a word of a label has no room, labels stand in lines of their
own.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from .. import numbers
from ..many import LONGEST_WORD, MANY, folded
from ..table import FilledColumn

GAP = 2
SHORTEST_LABEL = 8
_STYLES = {"uncertain": "dim", "incomplete": "yellow"}


def fitted(
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

    @cached_property
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
            label_lines = [Text()] if self.above else self._folded(console, name)
            columns = [form.texts[index] for form in self.forms]
            lines = [text.plain.split("\n") for text in columns]
            styled = bool(name.spans) or any(text.style for text in columns)
            for number in range(max(len(label_lines), *map(len, lines)) if lines else len(label_lines)):
                label = label_lines[number] if number < len(label_lines) else Text()
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
        if not name.spans:  # which takes rich three times as long
            return [Text(line) for line in folded(name.plain, self.label_width)]
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


def words_of(table: "Table | ManyLines") -> str:
    """All its words, a cell a line."""
    if isinstance(table, ManyLines):
        texts = (text.plain for form in table.forms for text in form.texts)
        names = (name.plain for name in table.names)
        return "\n".join([table.title, *names, *(form.title for form in table.forms), *texts])
    return "\n".join(str(cell) for column in table.columns for cell in (column.header, *column.cells))
