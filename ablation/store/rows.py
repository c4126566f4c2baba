"""The rows of a run's metrics.jsonl: all that are there, or each once as training appends it.

What a killed process left of a line is no row.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import size_of, unreadable

METRICS = "metrics.jsonl"

LONGEST = 19
"""Digits of the largest whole numbers in a row."""

Row = Mapping[str, Any]
"""What one line holds: step, tokens, seconds and metrics by name, null where a number is not finite."""


def read_rows(file: Path, having: str = "") -> list[Row]:
    """The rows with ``having`` in their text, [] where there is no file. Errors: StorageError if it cannot be read."""
    pattern = having.encode()
    try:
        size_of(file)
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(file, error) from error
    # Lines are selected before they are parsed: of a long run few rows are needed.
    return [row for line in lines if pattern in line and (row := _parse(line)) is not None]


class RestartedError(Exception):
    """The file no longer begins with what was read: the run is being trained again."""


class RowReader:
    """The rows of a metrics file, each once, as they become complete."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._last_line = b""
        self.lines = 0
        self.size = 0
        """Bytes of the file when it was last read, with the line that was not complete yet."""

    def exists(self) -> bool:
        """Whether there is a file to read."""
        return self._file.exists()

    def move(self, file: Path) -> None:
        """Go on in another file, with the same rows as far as they were read: that of a run, or of a later attempt."""
        self._file = file

    def read(self) -> list[tuple[int, Row]]:
        """The rows that were completed since the last call, each with the number of its line from 0.

        Where there is no file, or none any more, there are none. Errors: RestartedError where what was read before is
        no longer there; OSError.
        """
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._offset - len(self._last_line))
                block = stream.read()
        except FileNotFoundError:
            return []
        if not block.startswith(self._last_line):
            raise RestartedError
        block = block[len(self._last_line) :]
        self.size = self._offset + len(block)
        rows = []
        for line in block.split(b"\n")[:-1]:
            row = _parse(line)
            if row is not None:
                rows.append((self.lines, row))
            self._last_line = line + b"\n"
            self._offset += len(self._last_line)
            self.lines += 1
        return rows


def _whole(digits: str) -> int:
    """A whole number. Errors: ValueError for one of more than 64 bits, which no float and no counter has."""
    if len(digits) > LONGEST:
        raise ValueError(digits)
    return int(digits)


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line, parse_int=_whole)
    except (ValueError, RecursionError):  # also in the middle of a file, where a killed run went on after it
        return None
    return row if isinstance(row, dict) else None
