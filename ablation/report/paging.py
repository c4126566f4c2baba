"""What is printed on a terminal, line by line: without blanks at the ends, and page by page where it is long."""

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment, SegmentLines

Line = list[Segment]

KEPT_ON_SCREEN = "FRX"
"""Options of `less`, as git sets them: not for what fits, with colors, and what was read stays."""
LINES_AT_ONCE = 500
"""So many are written as text at once: those of ten thousand cells take ten times the memory of their text."""


def render_lines(renderable: RenderableType, console: Console, options: ConsoleOptions | None = None) -> list[Line]:
    """The lines of what is shown, without the blanks that rich puts behind the cells of a table."""
    return list(_lines(renderable, console, options))


def _lines(renderable: RenderableType, console: Console, options: ConsoleOptions | None = None) -> Iterator[Line]:
    width = (options or console.options).max_width
    for line in Segment.split_lines(console.render(renderable, options)):
        yield Segment.adjust_line_length(_stripped(line), width, pad=False)


def _stripped(line: Line) -> Line:
    kept = list(line)
    while kept and not kept[-1].control and not kept[-1].text.rstrip():
        kept.pop()
    if kept and not kept[-1].control:
        text, style, _ = kept[-1]
        kept[-1] = Segment(text.rstrip(), style)
    return kept


def as_text(renderable: RenderableType, console: Console) -> str:
    """What is shown as text, with the colors of this console."""
    return "".join(_texts(renderable, console))


def show(renderable: RenderableType, console: Console | None = None) -> None:
    """Print it, page by page where it is longer than the terminal."""
    console = console or Console()
    if _has_reader(console):
        page(as_text(renderable, console), console)
    else:
        for text in _texts(renderable, console):
            console.file.write(text)


def page(text: str, console: Console) -> None:
    """Print a text, through the pager of this system (``PAGER``, or `less`) where the terminal is too low for it."""
    if not _has_reader(console) or text.count("\n") < console.height:
        console.file.write(text)
        return
    import pydoc

    os.environ.setdefault("LESS", KEPT_ON_SCREEN)
    pydoc.pager(text)


def _has_reader(console: Console) -> bool:
    """Whether somebody is there to turn pages."""
    return console.is_terminal and sys.stdin is not None and sys.stdin.isatty()


def _texts(renderable: RenderableType, console: Console) -> Iterator[str]:
    """That text, some lines at a time."""
    lines = _lines(renderable, console)
    while some := list(islice(lines, LINES_AT_ONCE)):
        yield printed(some, console)


def printed(lines: Sequence[Line], console: Console) -> str:
    """Lines as text, with the colors of this console."""
    with console.capture() as capture:
        console.print(SegmentLines(lines, new_lines=True), end="", crop=False, soft_wrap=True)
    return capture.get()
