"""The errors a user may meet: each is one line, never a traceback, and has its exit code."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """What the user wrote is wrong (exit code 2). The message is one line, whatever text it quotes."""

    def __init__(self, message: str) -> None:
        # It quotes keys, values and file names from outside: their line breaks and escapes must not reach the terminal.
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class StorageError(RuntimeError):
    """The run store cannot be read or written, or what it holds is damaged (exit code 5)."""


class Locked(RuntimeError):  # noqa: N818 - it names a state, "the store is locked", not a fault
    """Another driver holds the store (exit code 3)."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: `"; did you mean 'rope'?"`, or `""` where nothing in `allowed` is near `word`."""
    by_folded = {name.casefold(): name for name in allowed}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[matches[0]]!r}?" if matches else ""


def nearest_file(file: Path) -> str:
    """The same for a file that is not there, among those beside it."""
    try:
        beside = [other.name for other in file.parent.iterdir() if other.is_file()]
    except (OSError, ValueError):
        return ""
    return nearest(file.name, beside)
