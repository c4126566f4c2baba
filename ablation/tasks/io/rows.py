"""Rows: two columns of a CSV, TSV, JSON or plain text file, or of a dataset that `datasets` has saved.

Shapes: N rows, L tokens.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from ...errors import InputError, nearest
from .saved import is_saved, read_columns

Column = str | int
"""The name that a column has in the file's first line, or its number, from 1, where the file has no such line."""

csv.field_size_limit(2**31 - 1)


class Row(NamedTuple):
    """Two values, and the line that they begin in, or where there are no lines the number of the row, from 1."""

    first: str
    second: str
    line: int


def read_rows(file: Path, columns: tuple[Column, Column], pattern: str | None, fields: Sequence[str]) -> list[Row]:
    """All rows; by the ending of the name ``.csv``, ``.tsv``, ``.jsonl``, or with ``pattern`` lines that it matches.

    A ``.json`` file holds a list of objects; ``.parquet`` files and folders are left to `datasets`.
    ``fields`` name the hyper-parameters that hold the path and the two columns.
    Errors: InputError, with the line where there is one.
    """
    if is_saved(file) and pattern is None:
        values = read_columns(file, columns, fields)
        pairs = enumerate(zip(*values, strict=True), 1)
        return _some([Row(first, second, number) for number, (first, second) in pairs], file, fields[0])
    text = read_text(file, fields[0])
    endings = {".csv": ",", ".tsv": "\t"}
    if pattern is not None:
        rows = list(_matches(file, text, pattern))
    elif file.suffix in endings:
        rows = list(_table(file, text, endings[file.suffix], columns, fields))
    elif file.suffix == ".jsonl":
        rows = list(_objects(file, enumerate(text.split("\n"), 1), columns, fields))
    elif file.suffix == ".json":
        rows = list(_objects(file, _items(file, text, fields[0]), columns, fields))
    else:
        raise InputError(f"{fields[0]}: {file.name!r} ends in none of .csv, .tsv, .jsonl, .json, .parquet")
    return _some(rows, file, fields[0])


def contents(file: Path, columns: tuple[Column, Column], pattern: str | None, fields: Sequence[str]) -> bytes:
    """What stands for a file in a run's identity: its bytes; of a folder its rows, however they lie in files."""
    if file.suffix == ".parquet" or not is_saved(file):
        return read_bytes(file, fields[0])
    return repr([(row.first, row.second) for row in read_rows(file, columns, pattern, fields)]).encode()


def _some(rows: list[Row], file: Path, field: str) -> list[Row]:
    if not rows:
        raise InputError(f"{field}: {file} has no rows")
    return rows


def read_bytes(file: Path, field: str) -> bytes:
    """The whole file. Errors: InputError."""
    try:
        return file.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{field}: {file} is a folder, and none that `save_to_disk` of datasets wrote") from None
    except OSError as error:
        raise InputError(f"{field}: {file}: {error.strerror}") from None


def read_text(file: Path, field: str) -> str:
    """The whole file, in UTF-8. Errors: InputError."""
    try:
        return read_bytes(file, field).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{field}: {file}: not UTF-8 at byte {error.start}") from None


def _table(
    file: Path, text: str, delimiter: str, columns: tuple[Column, Column], fields: Sequence[str]
) -> Iterator[Row]:
    """Fields in quotes may hold line breaks; in TSV a quote is a character like any other."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
        strict=True,
    )
    if isinstance(columns[0], str) != isinstance(columns[1], str):
        raise InputError(f"{fields[1]}, {fields[2]}: two names or two numbers, not one of each")
    places: list[int] | None = None
    if not isinstance(columns[0], str):
        places = [int(column) - 1 for column in columns]
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not cells:
                continue
            if places is None:
                places = [
                    _place(file, cells, str(column), field) for column, field in zip(columns, fields[1:], strict=True)
                ]
                continue
            if len(cells) <= max(places):
                wanted = max(places) + 1
                raise InputError(
                    f"{fields[0]}: {file}:{begins}: {len(cells)} columns where at least {wanted} are wanted"
                )
            yield Row(cells[places[0]], cells[places[1]], begins)
    except csv.Error as error:
        raise InputError(f"{fields[0]}: {file}:{line}: {error}") from None


def _place(file: Path, header: list[str], column: str, field: str) -> int:
    if column not in header:
        raise InputError(
            f"{field}: {file} has no column {column!r}; it has {', '.join(header)}{nearest(column, header)}"
        )
    return header.index(column)


def _items(file: Path, text: str, field: str) -> Iterator[tuple[int, str]]:
    """The objects of a list in JSON, each as a line of its own and with its number, from 1."""
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{field}: {file}:{error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(items, list):
        raise InputError(f"{field}: {file}: a list of objects is wanted, [{{...}}, ...]")
    for number, item in enumerate(items, 1):
        yield number, json.dumps(item)


def _objects(
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
            raise InputError(f"{fields[0]}: {file}:{number}: an object is wanted, {{...}}")
        values = []
        for column, field in zip(columns, fields[1:], strict=True):
            if column not in row:
                has = f"it has {', '.join(row)}{nearest(str(column), row)}"
                raise InputError(f"{field}: {file}:{number}: no key {column!r}; {has}")
            if not isinstance(row[column], str | int):
                raise InputError(f"{field}: {file}:{number}: {column!r} is neither text nor a whole number")
            values.append(str(row[column]))
        yield Row(values[0], values[1], number)


def _matches(file: Path, text: str, pattern: str) -> Iterator[Row]:
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise InputError(f"task.pattern: {pattern!r} is no regular expression: {error}") from None
    if not {"source", "target"} <= form.groupindex.keys():
        raise InputError("task.pattern: the groups (?P<source>...) and (?P<target>...) are wanted")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line:
            continue
        match = form.fullmatch(line)
        if match is None:
            raise InputError(f"task.path: {file}:{number}: the line does not match task.pattern")
        yield Row(match["source"] or "", match["target"] or "", number)


def pad_sequences(texts: list[list[int]], width: int | None, fill: int) -> Tensor:
    """Texts of different lengths as (N, width), the ends filled; ``width`` None is the longest of them."""
    lengths = numpy.array([len(text) for text in texts], dtype=numpy.int64)
    width = int(lengths.max(initial=0)) if width is None else width
    table = numpy.full((len(texts), width), fill, dtype=numpy.int64)
    table[numpy.arange(width) < lengths[:, None]] = [id for text in texts for id in text]
    return torch.from_numpy(table)
