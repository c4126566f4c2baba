"""Small real data that every Python installation has, for tasks without a file: the source of its standard library."""

import datetime
import platform
import sysconfig
from functools import cached_property
from pathlib import Path

from ...errors import InputError
from .files import DataFile
from .tables import Row

CORPUS_CHARACTERS = 1_000_000
DOCUMENTED_VERSION = "3.11.7"
DOCUMENTED_FINGERPRINT = "f0629bfb63e70fb520773a6b72dc3f7c443fc3fe0ccac0b91efa01595d250381"
"""Of the text on which the numbers in docs/ and conf/ were measured: another Python has another standard library."""


def standard_library_text() -> str:
    """The modules of the standard library in the order of their names, concatenated, without non-ASCII characters.

    Cut after a million characters. The text follows the version of Python; a run records its fingerprint.
    Errors: InputError when the interpreter has no sources.
    """
    modules, size = [], 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda file: file.name):
        text = file.read_bytes().decode("ascii", errors="ignore").replace("\r\n", "\n")
        modules.append(text)
        size += len(text)
        if size >= CORPUS_CHARACTERS:
            break
    if not modules:
        raise InputError("task.path: this Python has no sources of its standard library; set it to a text file")
    return "".join(modules)[:CORPUS_CHARACTERS]


class StandardLibrary(DataFile):
    """The text of the standard library where a task is given no file."""

    def __init__(self, field: str):
        super().__init__(field, Path(f"standard library of Python {platform.python_version()}"))

    @cached_property
    def content(self) -> bytes:
        return standard_library_text().encode()

    @property
    def note(self) -> str | None:
        """What to know of numbers in the docs where this is not the text that they were measured on."""
        if self.state.sha256 == DOCUMENTED_FINGERPRINT:
            return None
        return f"numbers in the docs are of the text of Python {DOCUMENTED_VERSION}"


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def lines_of_code() -> list[Row]:
    """Lines of Python's standard library without their first word, and the class of that word."""
    classes = {"def": "define", "class": "define", "import": "import", "from": "import"}
    classes |= {"if": "decide", "elif": "decide", "for": "repeat", "while": "repeat"}
    classes |= {"return": "end", "raise": "end", "#": "say"}
    rows = []
    for number, line in enumerate(standard_library_text().splitlines(), 1):
        first, _, rest = line.strip().partition(" ")
        if first in classes and len(rest) >= 8:
            rows.append(Row(rest, classes[first], number))
    return rows


def dates() -> list[Row]:
    """The days of thirty years in three alternating formats, and in ISO 8601."""
    rows = []
    for number in range(30 * 365):
        day = datetime.date(1990, 1, 1) + datetime.timedelta(number)
        month = MONTHS[day.month - 1]
        formats = (
            f"{day.day} {month} {day.year}",
            f"{month} {day.day}, {day.year}",
            f"{day.day}.{day.month}.{day.year}",
        )
        rows.append(Row(formats[number % 3], day.isoformat(), number + 1))
    return rows
