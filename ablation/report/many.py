"""A table of words and numbers, one row a cell; of very many rows in a tenth of the time that rich takes for it."""

from collections.abc import Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

MANY = 200
"""More rows than this are worth it."""
LONGEST_WORD = 40
"""Longer ones may be broken."""
_GAP = 2
"""Blanks between columns."""


def words_and_numbers(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A table whose first column is of words, which fold; the others are of numbers, which do not.

    The last numbers are left out where the terminal is too narrow for them beside the longest word.
    """
    return FewRows(titles, rows) if len(rows) <= MANY else ManyRows(titles, rows)


class FewRows:
    """The table as rich lays it out."""

    def __init__(self, titles: Sequence[str], rows: Sequence[Sequence[str]]):
        self.titles, self.rows = titles, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrowest, widths = _widths(self.titles, self.rows, options.max_width)
        table = Table(box=None, padding=(0, _GAP, 0, 0))
        table.add_column(self.titles[0], overflow="fold", ratio=1, min_width=narrowest)
        for title in self.titles[1 : 1 + len(widths)]:
            table.add_column(title, justify="right", no_wrap=True)
        for words, *numbers in self.rows:
            table.add_row(Text(words), *numbers[: len(widths)])
        yield table


class ManyRows:
    """The same of very many rows, as rich lays it out but for colors."""

    def __init__(self, titles: Sequence[str], rows: Sequence[Sequence[str]]):
        self.titles, self.rows = titles, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrowest, widths = _widths(self.titles, self.rows, options.max_width)
        room = max(narrowest, options.max_width - _GAP - sum(width + _GAP for width in widths))
        first = min(room, max(cell_len(row[0]) for row in self.rows))
        lines_of_titles = [title.split("\n") for title in self.titles[: 1 + len(widths)]]
        most = max(map(len, lines_of_titles))
        for title, *titles in zip(*([""] * (most - len(lines)) + lines for lines in lines_of_titles), strict=True):
            yield Segment(_line(title, titles, first, widths), Style(bold=True))
            yield Segment.line()
        for words, *numbers in self.rows:
            start, *rest = folded(words, first)
            yield Segment("\n".join([_line(start, numbers, first, widths), *rest]))
            yield Segment.line()


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> tuple[int, list[int]]:
    """The least width of the first column, and the widths of those of the others that have room beside it."""
    longest = max((cell_len(word) for row in rows for word in row[0].split()), default=1)
    narrowest = min(longest, LONGEST_WORD)
    used, widths = narrowest + _GAP, []
    for title, *texts in list(zip(titles, *rows, strict=True))[1:]:
        width = max(map(cell_len, {*title.split("\n"), *texts}))
        used += width + _GAP
        if used > room:
            break
        widths.append(width)
    return narrowest, widths


def folded(words: str, width: int) -> list[str]:
    """The lines of words that are at most so wide; only longer words are broken."""
    if cell_len(words) <= width:
        return [words]
    lines: list[str] = []
    for word in words.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += [word] if cell_len(word) <= width else chop_cells(word, width)
    return lines


def _line(words: str, numbers: Sequence[str], first: int, widths: Sequence[int]) -> str:
    padded = (f"{' ' * (width - cell_len(text))}{text}" for width, text in zip(widths, numbers, strict=False))
    gap = " " * _GAP
    return gap.join([words + " " * (first - cell_len(words)), *padded]).rstrip()
