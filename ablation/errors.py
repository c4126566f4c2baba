"""Errors that a user may see: each is one line without a traceback, and has its own exit code."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from .secrets import redact

LONGEST = 1500
"""Characters of a message; what is allowed may be a long list, but nobody reads more."""


class InputError(ValueError):
    """Invalid input by the user (exit code 2). The message is one line without secrets, whatever it quotes."""

    def __init__(self, message: str) -> None:
        line = printable(redact(message))  # it quotes the user's keys, values and file names
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}...")


def printable(text: str) -> str:
    """``text`` in one line, with line breaks, escapes and marks of direction as Python writes them in a string.

    They must not reach the terminal, which they could control.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


FAILURES = (Exception, SystemExit)
"""What a component of somebody else may raise: one that exits would end a command without a word."""


class StorageError(RuntimeError):
    """The run store cannot be read or written, or its content is damaged (exit code 5)."""


class Locked(RuntimeError):  # noqa: N818 - the name of a state, not of a fault
    """Another process holds the lock of the run store (exit code 3)."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: `"; did you mean 'rope'?"`, or `""` if nothing in `allowed` is similar to `word`."""
    by_folded = {name.casefold(): name for name in allowed}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[matches[0]]!r}?" if matches else ""


def nearest_file(file: Path, suffix: str | None = None) -> str:
    """The same for a file that does not exist, among those of its kind, or of ``suffix``, in its folder."""
    suffix = file.suffix if suffix is None else suffix
    try:
        names = {
            other.stem: other.name for other in file.parent.iterdir() if other.suffix == suffix and other.is_file()
        }
    except (OSError, ValueError):
        return ""
    matches = difflib.get_close_matches(file.name.removesuffix(suffix), names, n=1)
    return f"; did you mean {names[matches[0]]!r}?" if matches else ""


def whole_number(option: str, value: int | None) -> int | None:
    """What an option was given. Errors: InputError for other than a whole number of at least 1, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{option} {value}: must be a whole number, at least 1")
    return value
