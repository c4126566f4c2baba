"""Rows: what a run wrote down on its way, line by line, in its metrics.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import StorageError

Row = Mapping[str, Any]


def read_rows(file: Path, having: str = "") -> list[Row]:
    """The rows with ``having`` in their text, [] where there is no file; what a killed process left torn is no row.

    Errors: StorageError when it cannot be read.
    """
    wanted = having.encode()
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or type(error).__name__}") from error
    rows: list[Row] = []
    for line in lines:
        if wanted not in line:  # before it is parsed: of a long run few rows are looked for
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
