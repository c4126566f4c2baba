"""Datasets that were saved by Hugging Face's `datasets`, and Parquet files. Nothing is downloaded.

Importing `datasets` takes seconds and it is an optional extra, so it is imported only when such a file is read.
"""

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, nearest

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

DATASET_FILE, SPLITS_FILE = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes into the folder of a dataset, and into that of several splits."""


def is_saved(path: Path) -> bool:
    """Whether ``path`` is read by `datasets`."""
    try:
        return path.suffix == ".parquet" or (path / DATASET_FILE).is_file() or (path / SPLITS_FILE).is_file()
    except OSError:  # such as a name that is too long: reading it raises the error for the user
        return False


def read_columns(
    path: Path, columns: Sequence[str | int], fields: Sequence[str], content: bytes | None = None
) -> list[list[str]]:
    """The values of each column in the order of the rows; class labels as their names.

    ``fields`` are the names of the hyper-parameters with the path and the columns; ``content`` is that of a Parquet
    file. Errors: InputError.
    """
    dataset = _load(path, fields[0], content)
    names = dataset.column_names
    for column, field in zip(columns, fields[1:], strict=True):
        if column not in names:
            hint = f"it has {', '.join(names)}{nearest(str(column), names)}"
            raise InputError(f"{field}: {path} has no column {column!r}; {hint}")
    return [_strings(path, dataset, str(column), field) for column, field in zip(columns, fields[1:], strict=True)]


def read_text_column(path: Path, field: str, content: bytes | None = None) -> str:
    """The column `text` as one text, a line or more per row. Errors: InputError."""
    (rows,) = read_columns(path, ["text"], (field, field), content)
    return "".join(row if row.endswith("\n") else row + "\n" for row in rows)


def _load(path: Path, field: str, content: bytes | None) -> "Dataset":
    if (path / SPLITS_FILE).is_file():
        splits = json.loads((path / SPLITS_FILE).read_text(encoding="utf-8"))["splits"]
        what = f"has the splits {', '.join(splits)}; use the folder of one, such as {path / splits[0]}"
        raise InputError(f"{field}: {path} {what}")
    for variable in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        os.environ.setdefault(variable, "1")
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]
        from datasets import Dataset, load_from_disk
    except ImportError:
        what = "reading it needs the package datasets, the extra `datasets` of this package"
        raise InputError(f"{field}: {path}: {what}") from None
    try:
        # Not Dataset.from_parquet, which would leave a copy in the user's cache.
        return load_from_disk(path) if content is None else Dataset(pyarrow.parquet.read_table(BytesIO(content)))
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are ValueErrors
        raise InputError(f"{field}: {path} cannot be read: {str(error).splitlines()[0]}") from None


def _strings(path: Path, dataset: "Dataset", column: str, field: str) -> list[str]:
    class_names = getattr(dataset.features[column], "names", None)
    strings = []
    for number, value in enumerate(dataset[column], 1):
        if class_names is not None and isinstance(value, int) and 0 <= value < len(class_names):
            value = class_names[value]
        if not isinstance(value, str | int):
            raise InputError(f"{field}: {path}:{number}: {column!r} must be a string or a whole number")
        strings.append(str(value))
    return strings
