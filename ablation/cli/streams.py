"""Standard output and error that take any text, and say in one line where they cannot be written.

A terminal or a file has an encoding, which may lack the marks of a table or the letters of a label: marks become ASCII
ones, other characters the escapes of Python's strings, and nothing is lost. What cannot be written to standard output
is an error of its own, different from those of other files; what is said on standard error is for somebody who
watches, and work goes on where nobody can.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from ..errors import StorageError

HANDLER = "ablation.ascii"
"""The name of the handler in Python's registry of codecs."""
MOST = 10_000
"""The most columns or lines of a terminal."""
REPLACED = ("strict", "surrogateescape", "backslashreplace")
"""Handlers that are not somebody's choice: the defaults of Python for one stream or locale or another."""
ASCII = {
    "▲": "^",
    "▼": "v",
    "≈": "~",
    "≠": "!",
    "±": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "¶": "#",
    "‡": "+",
    "·": "-",
    "—": "-",
    "\N{EN DASH}": "-",
    "…": "...",
    "→": "->",
    "Δ": "d",
    "µ": "u",
    "✓": "+",
    "✗": "x",
    "─": "-",
    "━": "-",
    "╺": "-",
    "╸": "-",
    "│": "|",
    "█": "#",
    "▏": "|",
    "«": '"',
    "»": '"',
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"',
    "”": '"',
}
"""What replaces the marks of tables; one column wide where the original is, so that columns stay."""


def say(text: str) -> None:
    """Print a line of a command whose work and exit code do not depend on whether anybody reads it."""
    with suppress(ClosedPipe):
        print(text, flush=True)


class ClosedPipe(Exception):  # noqa: N818 - the name of a state, not of a fault
    """Whoever read standard output has had enough, as ``head`` has after its lines."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make standard output and error such streams for as long as a command runs.

    Errors: StorageError where standard output cannot be written, ``ClosedPipe`` where nobody reads it.
    """
    codecs.register_error(HANDLER, _ascii)
    _forget_impossible_sizes()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(sys.stdout, _Output), _stream(sys.stderr, _Error)
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    finally:
        with suppress(StorageError, ClosedPipe):  # where one of them is on its way already
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()  # and left open, since loggers may hold them
        sys.stdout, sys.stderr = before


class _Output(io.FileIO):
    """The file behind standard output."""

    broken = False

    def write(self, data: Any, /) -> int:
        if self.broken:
            return len(data)  # what is left in a buffer is not tried again
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            self.broken = True
            raise ClosedPipe from None
        except OSError as error:
            self.broken = True
            raise StorageError(f"standard output: cannot be written ({error.strerror})") from None


class _Error(io.FileIO):
    """The file behind standard error."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:  # there is nobody left to read it
            return len(data)


def _stream(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    """The same stream with the handler and, where it is a file of the system, over one of that ``kind``."""
    if not isinstance(stream, io.TextIOWrapper):  # None, or of a program that has put something else in its place
        return stream
    errors = HANDLER if stream.errors in REPLACED else stream.errors
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:
        stream.reconfigure(errors=errors)
        return stream
    stream.flush()
    buffer = io.BufferedWriter(kind(raw.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(buffer, stream.encoding, errors, line_buffering=stream.line_buffering)


def _ascii(error: UnicodeError) -> tuple[str, int]:
    """A handler of errors of encoding: marks become ASCII ones, all else ``\\u4e2d`` as in Python's strings."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, end = error.object, error.end
    written = []
    for character in text[error.start : end]:
        written.append(ASCII.get(character) or character.encode("ascii", "backslashreplace").decode())
    # A mark that takes two columns swallows the blank behind it, so that what follows stays in its column.
    if len(ASCII.get(text[end - 1], "")) == 2 and text[end : end + 1] == " ":
        end += 1
    return "".join(written), end


def _forget_impossible_sizes() -> None:
    """Without a size that no terminal has, such as ``COLUMNS=0``, the true size is found out, or a usual one taken."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is not None and not (value.isascii() and value.isdigit() and 0 < int(value) <= MOST):
            del os.environ[name]
