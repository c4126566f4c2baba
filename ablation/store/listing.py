"""Which runs are there, by listings of their folders.

Asked for one path, a network file system may answer from memory: that it is not there, for a minute after another
machine has made it. A listing it takes from the server. So a run's directory is looked for in its folder's listing, and
no path in it is opened before, as the answer that there is none would be remembered as well.
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .attempts import Ended, folder_of, run_directory
from .results import LEFT_ALONE, read_end


def listed(store: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """The directories of those of these runs that are there, by id; each folder is listed once."""
    folders = _names(store)
    names = cache(lambda folder: _names(store / folder) if folder in folders else frozenset())
    return {run_id: run_directory(store, run_id) for run_id in run_ids if run_id in names(folder_of(run_id))}


def is_listed(store: Path, run_id: str) -> bool:
    """Whether the directory of a run is there."""
    return bool(listed(store, [run_id]))


def committed(store: Path, run_id: str) -> Ended | None:
    """How a run ended, None where it has no end that is left alone."""
    if not is_listed(store, run_id):
        return None
    end = read_end(run_directory(store, run_id), run_id)
    return Ended(run_id, "committed", end.status, end.reason) if end.status in LEFT_ALONE else None


def _names(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
