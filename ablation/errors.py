"""Errors that a user may see: each is one line without a traceback, and has its own exit code."""

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from operator import index
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


_YAML = (".yaml", ".yml")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: `"; did you mean 'rope'?"`, or `""` if nothing in `allowed` is similar to `word`."""
    return _hint(word, {name.casefold(): name for name in allowed})


def nearest_file(file: Path, suffix: str | None = None) -> str:
    """The same for a file that does not exist, among those of its kind, or of ``suffix``, in its folder."""
    kind = file.suffix if suffix is None else suffix
    kinds = _YAML if kind.casefold() in _YAML else (kind.casefold(),)
    try:
        there = [other for other in file.parent.iterdir() if other.suffix.casefold() in kinds and other.is_file()]
    except (OSError, ValueError):
        return ""
    return _hint(file.stem if suffix is None else file.name, {other.stem.casefold(): other.name for other in there})


def _hint(word: str, by_folded: Mapping[str, str]) -> str:
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[matches[0]]!r}?" if matches else ""


def whole_number(option: str, value: int | None) -> int | None:
    """What an option was given. Errors: InputError for other than a whole number of at least 1, or None."""
    if value is None:
        return None
    with suppress(TypeError):
        if (number := index(value)) >= 1 and not isinstance(value, bool):
            return number
    raise InputError(f"{option} {value}: must be a whole number, at least 1")
