"""Whether two trainings of one run came to the same numbers: all but their times, and the machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .digests import without_digests
from .files import read_json
from .results import WEIGHTS
from .rows import METRICS

NOT_A_NUMBER_OF_THE_RUN = ("seconds", "tokens_per_second", "training_seconds", "record")
"""Keys of results and rows that differ between two trainings of the same run: times, and the machine."""


def have_same_numbers(attempt: Path, directory: Path) -> bool:
    """What is damaged has no numbers."""
    try:
        return bool(numbers(attempt) == numbers(directory))
    except (StorageError, ValueError):
        return False


def numbers(directory: Path) -> Any:
    """All that two trainings of the same run have in common: of its result, its rows and its weights."""
    result = without_digests(read_json(directory / "result.json"))
    rows = list(_rows(directory / METRICS))
    weights = directory / WEIGHTS
    return _without_times(result), rows, weights.read_bytes() if weights.exists() else None


def _rows(file: Path) -> Iterator[Any]:
    if file.exists():
        for line in file.read_bytes().splitlines():
            yield _without_times(json.loads(line))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {key for key in value if key.rpartition("/")[2] in NOT_A_NUMBER_OF_THE_RUN}
        return {key: _without_times(item) for key, item in value.items() if key not in hidden}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
