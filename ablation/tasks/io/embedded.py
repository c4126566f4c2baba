"""The corpus that is always there: the source text of the running interpreter's own standard library."""

# DOC-TO-MERGE: 'What files hold where none is named: small real data that every Python carries.'

import datetime
import sysconfig
from pathlib import Path

from ...errors import InputError
from .rows import Row

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
        raise InputError("task.path: this Python carries no sources of its standard library; name a text file instead")
    return "".join(pieces)[:CORPUS_CHARACTERS]


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def lines_of_code() -> list[Row]:
    """Lines of Python's standard library, and whether each defines, imports, decides, repeats, ends or says."""
    kinds = {"def": "define", "class": "define", "import": "import", "from": "import", "if": "decide", "elif": "decide"}
    kinds |= {"for": "repeat", "while": "repeat", "return": "end", "raise": "end", "#": "say"}
    rows = []
    for number, line in enumerate(standard_library_text().splitlines(), 1):
        first, _, rest = line.strip().partition(" ")
        if first in kinds and len(rest) >= 8:
            rows.append(Row(rest, kinds[first], number))
    return rows


def dates() -> list[Row]:
    """The days of thirty years as people write them, in three ways by turns, and as ISO 8601 does."""
    rows = []
    for number in range(30 * 365):
        day = datetime.date(1990, 1, 1) + datetime.timedelta(number)
        month = MONTHS[day.month - 1]
        ways = (f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}", f"{day.day}.{day.month}.{day.year}")
        rows.append(Row(ways[number % 3], day.isoformat(), number + 1))
    return rows
