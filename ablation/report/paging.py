"""What is printed on a terminal, line by line: without blanks at the ends, and page by page where it is long."""

import os
import pydoc
import sys

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment, SegmentLines

Line = list[Segment]

KEPT_ON_SCREEN = "FRX"
"""Options of `less`, as git sets them: not for what fits, with colors, and what was read stays."""


def render_lines(renderable: RenderableType, console: Console, options: ConsoleOptions | None = None) -> list[Line]:
    """The lines of what is shown, without the blanks that rich puts behind the cells of a table."""
    width = (options or console.options).max_width
    lines = Segment.split_lines(console.render(renderable, options))
    return [Segment.adjust_line_length(_stripped(line), width, pad=False) for line in lines]


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
    with console.capture() as capture:
        console.print(SegmentLines(render_lines(renderable, console), new_lines=True), end="", soft_wrap=True)
    return capture.get()


def show(renderable: RenderableType, console: Console | None = None) -> None:
    """Print it, page by page where it is longer than the terminal."""
    console = console or Console()
    page(as_text(renderable, console), console)


def page(text: str, console: Console) -> None:
    """Print a text, through the pager of this system (``PAGER``, or `less`) where the terminal is too low for it."""
    reads_keys = sys.stdin is not None and sys.stdin.isatty()
    if not console.is_terminal or not reads_keys or text.count("\n") < console.height:
        console.file.write(text)
        return
    os.environ.setdefault("LESS", KEPT_ON_SCREEN)
    pydoc.pager(text)
