"""Rows: two columns of a CSV, TSV, JSON or plain text file, or of a dataset that `datasets` has saved."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError, nearest
from ..examples import hold_out
from .saved import is_saved, read_columns

Column = str | int
"""The name of a column in the first line of a file, or its number, from 1, in a file without names."""

csv.field_size_limit(2**31 - 1)


class Row(NamedTuple):
    """Two values, and the line on which they start; the number of the row, from 1, where there are no lines."""

    first: str
    second: str
    line: int


class RowFiles:
    """The rows of a file and of a second one for validation; without that, a fraction of the first is held out.

    Errors: InputError when a file cannot be read, raised by the methods that read it.
    """

    def __init__(
        self,
        path: Path | None,
        validation_path: Path | None,
        columns: tuple[Column, Column],
        pattern: str | None,
        validation_fraction: float,
        fields: tuple[str, str],
    ):
        if path is None and validation_path is not None:
            raise InputError("task.validation_path: needs task.path as well")
        for column, field in zip(columns, fields, strict=True):
            if isinstance(column, int) and column < 1:
                raise InputError(f"{field}: must be at least 1, the number of the first column, not {column}")
        self.files = {} if path is None else {"task.path": path}
        if path is not None and validation_path is not None:
            self.files["task.validation_path"] = validation_path
        self.columns, self.pattern, self.fields = columns, pattern, fields
        self.validation_fraction = validation_fraction

    def fingerprint(self, default: Callable[[], list[Row]]) -> str:
        """A hash of the content of the files, or without files of the rows that ``default`` returns."""
        if not self.files:
            return sha256(repr(default()).encode()).hexdigest()
        hashes = [
            sha256(_content(file, self.columns, self.pattern, (field, *self.fields))).hexdigest()
            for field, file in self.files.items()
        ]
        return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()

    def split(self, default: Callable[[], list[Row]]) -> tuple[list[Row], list[Row]]:
        """Rows for training and for validation; without files of those that ``default`` returns."""
        parts = [
            read_rows(file, self.columns, self.pattern, (field, *self.fields)) for field, file in self.files.items()
        ] or [default()]
        if len(parts) == 2:
            return parts[0], parts[1]
        if len(parts[0]) < 2:
            raise InputError(f"task.path: {self.files['task.path']} has one row; training and validation need one each")
        training, validation = hold_out(len(parts[0]), self.validation_fraction, "rows")
        return [parts[0][index] for index in training], [parts[0][index] for index in validation]

    def location(self, row: Row) -> str:
        """`file:line` of a validation row."""
        *_, file = self.files.values()
        return f"{file}:{row.line}"


def read_rows(file: Path, columns: tuple[Column, Column], pattern: str | None, fields: Sequence[str]) -> list[Row]:
    """All rows of a file. Its name must end in ``.csv``, ``.tsv`` or ``.jsonl``, unless lines match a ``pattern``.

    A ``.json`` file has a list of objects; ``.parquet`` files and folders are read by `datasets`. ``fields`` are the
    names of the hyper-parameters with the path and the two columns.
    Errors: InputError, with the line where there is one.
    """
    delimiters = {".csv": ",", ".tsv": "\t"}
    if is_saved(file) and pattern is None:
        values = read_columns(file, columns, fields)
        rows = [Row(first, second, number) for number, (first, second) in enumerate(zip(*values, strict=True), 1)]
    elif pattern is not None:
        rows = list(_matching_lines(file, read_text(file, fields[0]), pattern))
    elif file.suffix in delimiters:
        rows = list(_csv_rows(file, read_text(file, fields[0]), delimiters[file.suffix], columns, fields))
    elif file.suffix == ".jsonl":
        rows = list(_json_rows(file, enumerate(read_text(file, fields[0]).split("\n"), 1), columns, fields))
    elif file.suffix == ".json":
        rows = list(_json_rows(file, _json_list(file, read_text(file, fields[0]), fields[0]), columns, fields))
    else:
        read_text(file, fields[0])  # that it cannot be read is the first thing to say
        raise InputError(f"{fields[0]}: the name {file.name!r} must end in .csv, .tsv, .jsonl, .json or .parquet")
    if not rows:
        raise InputError(f"{fields[0]}: {file} has no rows")
    return rows


def _content(file: Path, columns: tuple[Column, Column], pattern: str | None, fields: Sequence[str]) -> bytes:
    """What identifies the content of a file: its bytes, or of a saved dataset its rows, however it is stored."""
    if file.suffix == ".parquet" or not is_saved(file):
        return read_bytes(file, fields[0])
    return repr([(row.first, row.second) for row in read_rows(file, columns, pattern, fields)]).encode()


def read_bytes(file: Path, field: str) -> bytes:
    """The whole file. Errors: InputError."""
    try:
        return file.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{field}: {file} is a folder that `save_to_disk` of datasets did not write") from None
    except OSError as error:
        raise InputError(f"{field}: {file}: {error.strerror}") from None


def read_text(file: Path, field: str) -> str:
    """The whole file, in UTF-8. Errors: InputError."""
    try:
        return read_bytes(file, field).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{field}: {file}: not UTF-8 at byte {error.start}") from None


def _csv_rows(
    file: Path, text: str, delimiter: str, columns: tuple[Column, Column], fields: Sequence[str]
) -> Iterator[Row]:
    """In CSV, values in quotes may contain line breaks; in TSV a quote is a character like any other."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
        strict=True,
    )
    if isinstance(columns[0], str) != isinstance(columns[1], str):
        raise InputError(f"{fields[1]}, {fields[2]}: must be two names or two numbers, not one of each")
    indices: list[int] | None = None
    if not isinstance(columns[0], str):
        indices = [int(column) - 1 for column in columns]
    next_line = 1
    try:
        for cells in reader:
            line, next_line = next_line, reader.line_num + 1
            if not cells:
                continue
            if indices is None:
                indices = [
                    _column_index(file, cells, str(column), field)
                    for column, field in zip(columns, fields[1:], strict=True)
                ]
                continue
            if len(cells) <= max(indices):
                what = f"{len(cells)} columns, expected at least {max(indices) + 1}"
                raise InputError(f"{fields[0]}: {file}:{line}: {what}")
            yield Row(cells[indices[0]], cells[indices[1]], line)
    except csv.Error as error:
        raise InputError(f"{fields[0]}: {file}:{next_line}: {error}") from None


def _column_index(file: Path, header: list[str], column: str, field: str) -> int:
    if column not in header:
        hint = f"it has {', '.join(header)}{nearest(column, header)}"
        raise InputError(f"{field}: {file} has no column {column!r}; {hint}")
    return header.index(column)


def _json_list(file: Path, text: str, field: str) -> Iterator[tuple[int, str]]:
    """The objects of a JSON list, each as a line of JSON, with its number from 1."""
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{field}: {file}:{error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(items, list):
        raise InputError(f"{field}: {file}: expected a list of objects, [{{...}}, ...]")
    for number, item in enumerate(items, 1):
        yield number, json.dumps(item)


def _json_rows(
    file: Path, lines: Iterable[tuple[int, str]], columns: tuple[Column, Column], fields: Sequence[str]
) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{fields[0]}: {file}:{number}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise InputError(f"{fields[0]}: {file}:{number}: expected an object, {{...}}")
        values = []
        for column, field in zip(columns, fields[1:], strict=True):
            if column not in row:
                hint = f"it has {', '.join(row)}{nearest(str(column), row)}"
                raise InputError(f"{field}: {file}:{number}: no key {column!r}; {hint}")
            if not isinstance(row[column], str | int):
                raise InputError(f"{field}: {file}:{number}: {column!r} must be a string or a whole number")
            values.append(str(row[column]))
        yield Row(values[0], values[1], number)


def _matching_lines(file: Path, text: str, pattern: str) -> Iterator[Row]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"task.pattern: {pattern!r} is not a regular expression: {error}") from None
    if not {"source", "target"} <= expression.groupindex.keys():
        raise InputError("task.pattern: must have the groups (?P<source>...) and (?P<target>...)")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line:
            continue
        match = expression.fullmatch(line)
        if match is None:
            raise InputError(f"task.path: {file}:{number}: the line does not match task.pattern")
        yield Row(match["source"] or "", match["target"] or "", number)
