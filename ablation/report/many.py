"""A table of words and numbers, one row a cell; of very many rows in a tenth of the time that rich takes for it."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

MANY = 200
"""More rows than this are worth it."""
LONGEST_WORD = 40
"""Longer ones may be broken."""
_NARROWEST = 10


def words_and_numbers(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A table whose first column is of words, which fold; the others are of numbers, which do not.

    Of few rows the last numbers are left out where the terminal is too narrow; lines of many are cut there.
    """
    return FewRows(titles, rows) if len(rows) <= MANY else ManyRows([title.replace("\n", "") for title in titles], rows)


class FewRows:
    """The table as rich lays it out."""

    def __init__(self, titles: Sequence[str], rows: Sequence[Sequence[str]]):
        self.titles, self.rows = titles, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max((cell_len(word) for row in self.rows for word in row[0].split()), default=1)
        narrowest = min(longest, LONGEST_WORD)
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column(self.titles[0], overflow="fold", ratio=1, min_width=narrowest)
        used, shown = narrowest + 2, 1
        for title, *texts in list(zip(self.titles, *self.rows, strict=True))[1:]:
            used += 2 + max(cell_len(line) for text in (title, *texts) for line in text.split("\n"))
            if used > options.max_width:
                break
            table.add_column(title, justify="right", no_wrap=True)
            shown += 1
        for words, *numbers in self.rows:
            table.add_row(Text(words), *numbers[: shown - 1])
        yield table


class ManyRows:
    """The same of very many rows, as rich lays it out but for colors."""

    def __init__(self, titles: Sequence[str], rows: Sequence[Sequence[str]]):
        self.titles, self.rows = titles, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everything = [self.titles, *self.rows]
        widths = [max(map(cell_len, column)) for column in zip(*everything, strict=True)]
        room = max(_NARROWEST, options.max_width - 2 * len(widths) - sum(widths[1:]))
        widths[0] = min(widths[0], room)
        for row in everything:
            style = Style(bold=True) if row is self.titles else None
            for line in self._lines(row, widths):
                yield Segment(line[: options.max_width].rstrip(), style)
                yield Segment.line()

    def _lines(self, row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        words = row[0]
        first, *rest = [words] if cell_len(words) <= widths[0] else textwrap.wrap(words, widths[0]) or [words]
        numbers = (f"{' ' * (width - cell_len(text))}{text}  " for width, text in zip(widths[1:], row[1:], strict=True))
        yield f"{first}{' ' * (widths[0] - cell_len(first) + 2)}{''.join(numbers)}"
        yield from rest
