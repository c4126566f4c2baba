"""Live displays in a window that may be resized: a terminal that becomes narrower breaks the lines it shows.

rich moves up by as many lines as it has written, and would leave those of a broken frame standing above the next.
"""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.segment import ControlCode, ControlType, Segment, SegmentLines

from .paging import render_lines


class Frames:
    """Makes the frames of a ``rich.live.Live``: each erases the one before it, however the window has broken that."""

    def __init__(self, console: Console):
        self.console = console
        self.width = console.width
        self.lengths: list[int] = []
        """Of the lines of the last frame."""

    def frame(self, renderable: RenderableType) -> RenderableType:
        """The next frame; to be called once for each, right before it is shown."""
        width, written = self.console.width, len(self.lengths)
        if width < self.width and written:
            now = sum(max(1, -(-length // width)) for length in self.lengths)
            if now > written:
                self.console.control(Control(*_erase(now), *_down(written - 1)))
        self.width = width
        return _Frame(self, renderable)


class _Frame:
    """A frame, of which the lengths of the lines are kept."""

    def __init__(self, frames: Frames, renderable: RenderableType):
        self.frames, self.renderable = frames, renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = render_lines(self.renderable, console, options)
        # A frame that is higher than the window is cut by rich.
        self.frames.lengths = [Segment.get_line_length(line) for line in lines[: options.size.height]]
        yield SegmentLines(lines, new_lines=True)


def _erase(lines: int) -> list[ControlCode]:
    """From the last of so many lines: erase them all, and stay on the first."""
    erase, up = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
    return [(ControlType.CARRIAGE_RETURN,), erase, *([up, erase] * (lines - 1))]


def _down(lines: int) -> list[ControlCode]:
    """To where rich takes the last line of the frame to be."""
    return [(ControlType.CURSOR_DOWN, lines)] if lines else []
