"""Which runs are there, by listings of their folders.

Asked for one path, a network file system may answer from memory: that it is not there, for a minute after another
machine has made it. A listing it takes from the server. So a run's directory is looked for in its folder's listing, and
no path in it is opened before, as the answer that there is none would be remembered as well.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .attempts import Ended, run_directory
from .results import LEFT_ALONE, read_end


def listed(directories: Iterable[Path]) -> set[Path]:
    """Those of these directories of runs that are there; each folder is listed once."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for directory in directories:
        by_folder[directory.parent].append(directory)
    names, found = cache(_names), set[Path]()
    for folder, inside in by_folder.items():
        if folder.name in names(folder.parent):
            there = names(folder)
            found.update(directory for directory in inside if directory.name in there)
    return found


def is_listed(directory: Path) -> bool:
    """Whether the directory of a run is there."""
    return bool(listed([directory]))


def committed(store: Path, run_id: str) -> Ended | None:
    """How a run ended, None where it has no end that is left alone."""
    directory = run_directory(store, run_id)
    if not is_listed(directory):
        return None
    end = read_end(directory, run_id)
    return Ended(run_id, "committed", end.status, end.reason) if end.status in LEFT_ALONE else None


def _names(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
