"""The corpus that is always there: the source text of the running interpreter's own standard library."""

import sysconfig
from pathlib import Path

from ..errors import InputError

CORPUS_CHARACTERS = 1_000_000


def standard_library_text() -> str:
    """The modules of the standard library in the order of their names, one after another, ASCII only.

    Capped at a million characters. The text differs between versions of Python; a run records its fingerprint.
    Errors: InputError where the interpreter carries no sources.
    """
    pieces, size = [], 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda file: file.name):
        text = file.read_bytes().decode("ascii", errors="ignore").replace("\r\n", "\n")
        pieces.append(text)
        size += len(text)
        if size >= CORPUS_CHARACTERS:
            break
    if not pieces:
        raise InputError("data.path: this Python carries no sources of its standard library; name a text file instead")
    return "".join(pieces)[:CORPUS_CHARACTERS]
