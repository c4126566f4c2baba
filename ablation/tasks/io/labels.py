"""Names of classes: two that a reader would take for one are refused, as are empty ones and marks of unlabeled rows."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Literal

from ...errors import InputError

ClassNames = Literal["distinct", "as_written"]
"""``distinct``: names that differ only in how they are written are an error; ``as_written``: they are classes."""

UNLABELED = "-1"
"""How datasets mark rows without a label. Beside the class 1 alone it is a class of its own."""

# Cyrillic and Greek letters, quotes and dashes by what they look like: the usual ones of Unicode's confusables.
_LOOK_ALIKE = {
    "A": "\u0410\u0391",
    "B": "\u0412\u0392",
    "E": "\u0415\u0395",
    "S": "\u0405",
    "I": "\u0406\u0399",
    "J": "\u0408",
    "K": "\u041a\u039a",
    "M": "\u041c\u039c",
    "H": "\u041d\u0397",
    "O": "\u041e\u039f",
    "P": "\u0420\u03a1",
    "C": "\u0421",
    "T": "\u0422\u03a4",
    "Y": "\u0423\u03a5",
    "X": "\u0425\u03a7",
    "a": "\u0430\u03b1",
    "e": "\u0435",
    "o": "\u043e\u03bf",
    "s": "\u0455",
    "i": "\u0456",
    "j": "\u0458",
    "p": "\u0440\u03c1",
    "c": "\u0441",
    "y": "\u0443",
    "x": "\u0445",
    "h": "\u04bb",
    "d": "\u0501",
    "q": "\u051b",
    "w": "\u051d",
    "Z": "\u0396",
    "N": "\u039d",
    "v": "\u03bd",
    "'": "\u2018\u2019\u201a\u201b\u2032`",
    '"': "\u201c\u201d\u201e\u2033",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
}
_TO_ASCII = {ord(letter): ascii for ascii, letters in _LOOK_ALIKE.items() for letter in letters}
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?")


def _unspaced(name: str) -> str:
    return "".join(character for character in name if not character.isspace())


def _normalized(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")


def _folded(name: str) -> str:
    return _normalized(name).casefold()


def _look(name: str) -> str:
    return _normalized(name).translate(_TO_ASCII)


def _number(name: str) -> str:
    return repr(float(name)) if _NUMBER.fullmatch(name) else name


_ONLY_BY: dict[str, Callable[[str], str]] = {
    "blanks": _unspaced,
    "letter case": str.casefold,
    "Unicode normalization or invisible characters": _normalized,
    "how a number is written": _number,
    "letters that look alike": _look,
    "blanks, letter case and letters that look alike": lambda name: _number(_unspaced(_look(_folded(_look(name))))),
}
"""By the words for a difference that is none, what names have in common that differ only so; the last covers all."""


def check_class_names(names: Mapping[str, str], field: str) -> None:
    """Refuse names that are hardly what was meant; ``names`` are the classes with `file:line` of their first row.

    Errors: InputError about ``field``.
    """
    keep = "or set task.class_names: as_written"
    for name, location in names.items():
        if not _unspaced(_normalized(name)):
            raise InputError(f"{field}: {location}: the class is empty; name it, {keep}")
    others = names.keys() - {UNLABELED}
    if UNLABELED in names and others != {"1"}:
        what = f"class {UNLABELED} marks a row without a label; remove such rows"
        raise InputError(f"{field}: {names[UNLABELED]}: {what}, {keep}")
    *_, same = _ONLY_BY.values()
    seen: dict[str, str] = {}
    for name, location in names.items():
        other = seen.setdefault(same(name), name)
        if other != name:
            how = next(how for how, key in _ONLY_BY.items() if key(name) == key(other))
            what = f"class {ascii_name(name)} differs from {ascii_name(other)} ({names[other]}) only by {how}"
            raise InputError(f"{field}: {location}: {what}; write them alike, {keep}")


def ascii_name(name: str) -> str:
    """A name in quotes, with the codes of what is not ASCII where that is all that distinguishes it."""
    return repr(name) if name.isascii() else f"{name!r} ({ascii(name)[1:-1]})"
