"""Rows: two columns of a CSV, TSV, JSON or plain text file, or of a dataset that `datasets` has saved."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..base import Examples
from ..description import count_in_both, shortened
from ..examples import hold_out
from ..named_sets import NO_SETS, USUAL, NamedFiles, ScoredRows, by_value, check_names, fingerprint_with_sets
from .files import BYTE_ORDER_MARK, DataFile, combined_hash, plain_text
from .saved import is_saved, read_columns
from .tables import Column, Columns, Row, csv_rows, json_line_rows, json_list_rows, matching_rows

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def check_columns(columns: Sequence[Column], fields: Sequence[str]) -> None:
    """Errors: InputError for the number of a column that does not count from 1."""
    for column, field in zip(columns, fields, strict=True):
        if isinstance(column, int) and column < 1:
            raise InputError(f"{field}: must be at least 1, the number of the first column, not {column}")


class RowFile(DataFile):
    """The rows of one file. Its name must end in ``.csv``, ``.tsv`` or ``.jsonl``, unless lines match a ``pattern``.

    A ``.json`` file has a list of objects; ``.parquet`` files and folders are read by `datasets`. ``fields`` are the
    names of the hyper-parameters with the path and the columns; a third column is that by which rows are scored.
    Errors: InputError, with the line where there is one, raised by what reads the file.
    """

    expected = "a table, or a folder that `save_to_disk` of datasets wrote"

    def __init__(self, path: Path, columns: Columns, pattern: str | None, fields: Sequence[str]):
        check_columns(columns, fields[1:])
        super().__init__(fields[0], path, None if pattern is not None else self._content_of_saved)
        self.columns, self.pattern, self.fields = columns, pattern, fields

    @cached_property
    def rows(self) -> list[Row]:
        """The rows; line ends within values are ``\\n`` as well."""
        return [
            Row(plain_text(row.first), plain_text(row.second), row.line, plain_text(row.group))
            for row in self.rows_as_written
        ]

    def location(self, row: Row) -> str:
        """`file:line` of a row."""
        return f"{self.path}:{row.line}"

    @cached_property
    def rows_as_written(self) -> list[Row]:
        path, arguments = self.path, (self.columns, self.fields)
        if self.pattern is not None:
            group = self.columns[2] if len(self.columns) == 3 else None
            rows = list(matching_rows(path, self.text, self.pattern, self.field, group))
        elif is_saved(path):
            content = self.content if path.suffix == ".parquet" else None
            values = read_columns(path, *arguments, content)
            rows = [
                Row(first, second, number, *group)
                for number, (first, second, *group) in enumerate(zip(*values, strict=True), 1)
            ]
        elif path.suffix in DELIMITERS:
            _ = self.text  # raises the error of a file that is not UTF-8
            as_written = self.content.decode().removeprefix(BYTE_ORDER_MARK)
            rows = list(csv_rows(path, as_written, DELIMITERS[path.suffix], *arguments))
        elif path.suffix == ".jsonl":
            rows = list(json_line_rows(path, self.text, *arguments))
        elif path.suffix == ".json":
            rows = list(json_list_rows(path, self.text, *arguments))
        else:
            _ = self.text  # that it cannot be read is the first thing to say
            raise InputError(f"{self.field}: the name {path.name!r} must end in .csv, .tsv, .jsonl, .json or .parquet")
        if not rows:
            raise InputError(f"{self.field}: {path} has no rows")
        return rows

    def _content_of_saved(self, path: Path) -> bytes:
        """What identifies a saved dataset: its rows, however they are stored."""
        groups = [row.group for row in self.rows] if len(self.columns) == 3 else None
        content = repr([(row.first, row.second) for row in self.rows])
        return (content if groups is None else f"{content}{groups!r}").encode()

    @property
    def fingerprint(self) -> str:
        """A hash of the content, which is another one where the rule for line ends changes a value."""
        changed = any("\r" in row.first or "\r" in row.second for row in self.rows_as_written)
        if self.pattern is not None:
            changed = re.search(b"\r(?!\n)", self.content) is not None
        return sha256(self.content + (b"\0plain line ends" if changed else b"")).hexdigest()


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
        validation_sets: NamedFiles = NO_SETS,
        test_sets: NamedFiles = NO_SETS,
        score_by: Column | None = None,
    ):
        if path is None and validation_path is not None:
            raise InputError("task.validation_path: needs task.path as well")
        check_columns(columns, fields)
        if path is None and score_by is not None:
            raise InputError("task.score_by: needs task.path as well")
        check_names(validation_sets, test_sets)

        def row_file(field: str, file: Path, trains: bool = False) -> RowFile:
            if score_by is None or trains:
                return RowFile(file, columns, pattern, (field, *fields))
            return RowFile(file, (*columns, score_by), pattern, (field, *fields, "task.score_by"))

        given = {"task.path": path, "task.validation_path": validation_path}
        self.files = [
            row_file(field, file, trains=field == "task.path" and validation_path is not None)
            for field, file in given.items()
            if file is not None
        ]
        self.validation_sets, self.test_sets = (
            {name: row_file(f"task.{field}.{name}", file) for name, file in sets.items()}
            for field, sets in (("validation_sets", validation_sets), ("test_sets", test_sets))
        )
        self.validation_fraction, self.scored_by_value = validation_fraction, score_by is not None

    @property
    def sets(self) -> dict[str, RowFile]:
        """All named sets."""
        return self.validation_sets | self.test_sets

    def scored_once(self, usual: ScoredRows, named: Mapping[str, ScoredRows]) -> dict[str, Examples]:
        """The test sets, and with ``score_by`` the rows of each value in every set. Errors: as of ``by_value``."""
        sets = {name: named[name].examples for name in self.test_sets}
        return sets | by_value({USUAL: usual, **named}) if self.scored_by_value else sets

    def fingerprint(self, default: Callable[[], list[Row]]) -> str:
        """A hash of the content of the files, or of the rows that ``default`` returns, and of the named sets."""
        if self.files:
            fingerprint = combined_hash([file.fingerprint for file in self.files])
        else:
            # As repr wrote a row before it had a group, so that the ids of earlier runs stay.
            rows = (f"Row(first={row.first!r}, second={row.second!r}, line={row.line})" for row in default())
            fingerprint = sha256(f"[{', '.join(rows)}]".encode()).hexdigest()
        return fingerprint_with_sets(fingerprint, [(file, file.fingerprint) for file in self.sets.values()])

    def split(self, default: Callable[[], list[Row]]) -> tuple[list[Row], list[Row]]:
        """Rows for training and for validation; without files of those that ``default`` returns."""
        parts = [file.rows for file in self.files] or [default()]
        if len(parts) == 2:
            return parts[0], parts[1]
        if len(parts[0]) < 2:
            raise InputError(f"task.path: {self.files[0].path} has one row; training and validation need one each")
        training, validation = hold_out(len(parts[0]), self.validation_fraction, "rows")
        return [parts[0][index] for index in training], [parts[0][index] for index in validation]

    def describe(self, default: str, training: list[Row], validation: list[Row]) -> dict[str, Any]:
        """What a description of the data says of the rows; ``default`` is what they are without files."""
        names = [file.path.name for file in self.files] or [default]
        sets = [f"{name} {len(file.rows):,} of {file.path.name}" for name, file in self.sets.items()]
        pairs = [[(row.first, row.second) for row in rows] for rows in (training, validation)]
        return {
            "source": names[0],
            "validation_source": names[1] if len(names) > 1 else None,
            "training": len(training),
            "validation": len(validation),
            "duplicates": count_in_both(*pairs),
            "first": shortened(" -> ".join(pairs[0][0])),
            "last": shortened(" -> ".join(pairs[1][-1])),
            "sets": tuple(sets),
        }

    def location(self, row: Row, validates: bool) -> str:
        """`file:line` of a row; `row 7` where there is no file."""
        return f"{self.files[-validates].path}:{row.line}" if self.files else f"row {row.line}"


def read_rows(file: Path, columns: Columns, pattern: str | None, fields: Sequence[str]) -> list[Row]:
    """All rows of a file; see ``RowFile``."""
    return RowFile(file, columns, pattern, fields).rows
