"""Saved datasets: what Hugging Face's `datasets` has written to this disk, or a Parquet file.

`datasets` takes seconds to import and is an extra, so only a path that needs it asks for it. Nothing is downloaded.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, nearest

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]

ONE, SEVERAL = "state.json", "dataset_dict.json"
"""What `save_to_disk` leaves in the folder of a dataset, and in that of several splits."""


def is_saved(path: Path) -> bool:
    """Whether `datasets` is what reads it."""
    try:
        return path.suffix == ".parquet" or (path / ONE).is_file() or (path / SEVERAL).is_file()
    except OSError:  # such as a name that is too long: whoever reads it says so
        return False


def read_columns(path: Path, columns: Sequence[str | int], fields: Sequence[str]) -> list[list[str]]:
    """The values of each column, row by row; classes by their names.

    ``fields`` name the hyper-parameters that hold the path and the columns. Errors: InputError.
    """
    dataset = _load(path, fields[0])
    names = dataset.column_names
    for column, field in zip(columns, fields[1:], strict=True):
        if column not in names:
            has = f"it has {', '.join(names)}{nearest(str(column), names)}"
            raise InputError(f"{field}: {path} has no column {column!r}; {has}")
    return [_texts(path, dataset, str(column), field) for column, field in zip(columns, fields[1:], strict=True)]


def read_whole(path: Path, field: str) -> str:
    """The column `text`, every row ending a line. Errors: InputError."""
    (rows,) = read_columns(path, ["text"], (field, field))
    return "".join(row if row.endswith("\n") else row + "\n" for row in rows)


def _load(path: Path, field: str) -> "Dataset":
    if (path / SEVERAL).is_file():
        splits = json.loads((path / SEVERAL).read_text(encoding="utf-8"))["splits"]
        what = f"has the splits {', '.join(splits)}; name the folder of one, such as {path / splits[0]}"
        raise InputError(f"{field}: {path} {what}")
    for variable in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        os.environ.setdefault(variable, "1")
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]
        from datasets import Dataset, load_from_disk
    except ImportError:
        what = "reading it needs the package datasets, the extra `datasets` of this one"
        raise InputError(f"{field}: {path}: {what}") from None
    try:
        # Not Dataset.from_parquet, which would leave a copy in the user's cache.
        return Dataset(pyarrow.parquet.read_table(path)) if path.suffix == ".parquet" else load_from_disk(path)
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are ValueErrors
        raise InputError(f"{field}: {path} cannot be read: {str(error).splitlines()[0]}") from None


def _texts(path: Path, dataset: "Dataset", column: str, field: str) -> list[str]:
    names = getattr(dataset.features[column], "names", None)
    texts = []
    for number, value in enumerate(dataset[column], 1):
        if names is not None and isinstance(value, int) and 0 <= value < len(names):
            value = names[value]
        if not isinstance(value, str | int):
            raise InputError(f"{field}: {path}:{number}: {column!r} is neither text nor a whole number")
        texts.append(str(value))
    return texts
