"""Tables: the rows of CSV, TSV and JSON files and of lines that match a pattern, with the line on which each starts.

A row is refused unless it has as many columns as the first line of its file: one delimiter too many or too few shifts
the columns behind it.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError, nearest

Column = str | int
"""The name of a column in the first line of a file, or its number, from 1, in a file without names."""

Columns = tuple[Column, Column] | tuple[Column, Column, Column]
"""Those of the two values of a row, and of what rows are scored by."""

csv.field_size_limit(2**31 - 1)


class Row(NamedTuple):
    """Two values, and the line on which they start; the number of the row, from 1, where there are no lines."""

    first: str
    second: str
    line: int
    group: str = ""
    """Its value in the column by which rows are scored."""


def csv_rows(file: Path, text: str, delimiter: str, columns: Columns, fields: Sequence[str]) -> Iterator[Row]:
    """In CSV, values in quotes may contain line breaks; in TSV a quote is a character like any other.

    ``fields`` are the names of the hyper-parameters with the path and the columns. Errors: InputError.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
        strict=True,
    )
    if len({isinstance(column, str) for column in columns}) > 1:
        what = "must be two names or two numbers, not one of each"
        if len(columns) > 2:
            what = "must be all names or all numbers"
        raise InputError(f"{', '.join(fields[1:])}: {what}")
    indices: list[int] | None = None
    if not isinstance(columns[0], str):
        indices = [int(column) - 1 for column in columns]
    n_columns, next_line = 0, 1
    try:
        for cells in reader:
            line, next_line = next_line, reader.line_num + 1
            if not cells:
                continue
            if not n_columns:
                n_columns, of = len(cells), "the header" if indices is None else f"line {line}"
            if len(cells) != n_columns:
                quote = "; quote a value with a comma in it" if delimiter == "," and len(cells) > n_columns else ""
                had = f"{of} has {n_columns}"
                raise InputError(f"{fields[0]}: {file}:{line}: {_counted(len(cells))} where {had}{quote}")
            if indices is None:
                indices = [
                    _column_index(file, cells, str(column), field)
                    for column, field in zip(columns, fields[1:], strict=True)
                ]
                continue
            if n_columns <= max(indices):
                what = f"{_counted(n_columns)}, expected at least {max(indices) + 1}"
                raise InputError(f"{fields[0]}: {file}:{line}: {what}")
            yield _row([cells[index] for index in indices], line)
    except csv.Error as error:
        raise InputError(f"{fields[0]}: {file}:{next_line}: {error}") from None


def _row(values: Sequence[str], line: int) -> Row:
    first, second, *group = values
    return Row(first, second, line, *group)


def _counted(n_columns: int) -> str:
    return f"{n_columns} column{'s' if n_columns != 1 else ''}"


def _column_index(file: Path, header: list[str], column: str, field: str) -> int:
    if column not in header:
        hint = f"it has {', '.join(header)}{nearest(column, header)}"
        raise InputError(f"{field}: {file} has no column {column!r}; {hint}")
    if header.count(column) > 1:
        raise InputError(f"{field}: {file}:1: {header.count(column)} columns have the name {column!r}")
    return header.index(column)


def json_line_rows(file: Path, text: str, columns: Columns, fields: Sequence[str]) -> Iterator[Row]:
    """The rows of a file with one JSON object per line. Errors: InputError."""
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    objects = ((number, _parse_json(file, line, fields[0], number)) for number, line in numbered)
    return _json_rows(file, objects, columns, fields)


def json_list_rows(file: Path, text: str, columns: Columns, fields: Sequence[str]) -> Iterator[Row]:
    """The rows of a file with a list of JSON objects, with their numbers in the list from 1. Errors: InputError."""
    items = _parse_json(file, text, fields[0])
    if not isinstance(items, list):
        raise InputError(f"{fields[0]}: {file}: expected a list of objects, [{{...}}, ...]")
    return _json_rows(file, enumerate(items, 1), columns, fields)


def _parse_json(file: Path, text: str, field: str, line: int | None = None) -> Any:
    """``line``: on which the text stands; None: it is the whole file."""

    def refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                where = file if line is None else f"{file}:{line}"
                raise InputError(f"{field}: {where}: the key {key!r} appears {keys.count(key)} times in one object")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=refuse_repeated)
    except json.JSONDecodeError as error:
        raise InputError(f"{field}: {file}:{line or error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{field}: {file}{'' if line is None else f':{line}'}: nested too deeply") from None


def _json_rows(
    file: Path, objects: Iterable[tuple[int, Any]], columns: Columns, fields: Sequence[str]
) -> Iterator[Row]:
    for number, row in objects:
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
        yield _row(values, number)


def matching_rows(file: Path, text: str, pattern: str, field: str, group: Column | None = None) -> Iterator[Row]:
    """The lines of a text that match a regular expression; ``group`` is that by which rows are scored.

    Errors: InputError with the line of one that does not match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"task.pattern: {pattern!r} is not a regular expression: {error}") from None
    if not {"source", "target"} <= expression.groupindex.keys():
        raise InputError("task.pattern: must have the groups (?P<source>...) and (?P<target>...)")
    if group is not None and group not in expression.groupindex:
        raise InputError(f"task.score_by: task.pattern has no group (?P<{group}>...)")
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        match = expression.fullmatch(line)
        if match is None:
            raise InputError(f"{field}: {file}:{number}: the line does not match task.pattern")
        yield Row(match["source"] or "", match["target"] or "", number, "" if group is None else match[group] or "")
