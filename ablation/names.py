"""Names of grids, which are those of their folders on every system, and labels of cells as users write them."""

import re
from collections.abc import Collection

from .errors import InputError, nearest

RESERVED = ("store", "wandb")
"""Names of the other folders that lie beside those of the grids."""
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))}
"""Names that mean a device in any folder of Windows, whatever comes after a dot."""
_ALLOWED = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def reason_no_folder(name: str) -> str | None:
    """Why no grid can have that name; None if one can."""
    if name.casefold() in RESERVED:
        return f"{name!r} is reserved; choose another name"
    if name.partition(".")[0].casefold() in DEVICES:
        return f"{name!r} is a device in Windows; choose another name"
    if not _ALLOWED.fullmatch(name):
        return "must be 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit"
    if name.endswith("."):
        return f"{name!r} ends in a dot, which Windows leaves out; choose another name"
    return None


def find_label(written: str, labels: Collection[str], where: str = "") -> str:
    """The label that is meant, or the only one that has all the words, or parts of words, that were written.

    Errors: InputError, which begins with ``where`` and names the labels that it could be.
    """
    if written in labels:
        return written
    words, parts = {*map(_with_number, written.split())}, written.casefold().split()
    whole = [label for label in labels if words and words <= {*map(_with_number, label.split())}]
    matching = whole or [label for label in labels if words and all(part in label.casefold() for part in parts)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise InputError(f"{where}{written!r} could be {len(matching)} cells: {'; '.join(matching)}")
    raise InputError(f"{where}{written!r} is not a cell; cells: {'; '.join(labels)}{nearest(written, labels)}")


def _with_number(word: str) -> str:
    """A word of a label, the same however its number is written: ``lr=1e-2`` and ``lr=0.01``."""
    name, equals, value = word.rpartition("=")
    try:
        return f"{name}{equals}{float(value)}"
    except ValueError:
        return word
