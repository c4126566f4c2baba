"""The files of runs that have come to an end: as long as none has changed, a run is as it was read."""

import os
from collections.abc import Mapping
from pathlib import Path

from .example_losses import EXAMPLE_LOSSES
from .rows import METRICS

ENDS = ("result.json", "failure.json")
FILES = (*ENDS, "run.json", METRICS, EXAMPLE_LOSSES)
"""The files of a run that are read for it."""


def states(directories: Mapping[str, Path]) -> dict[str, str]:
    """By id, the files of runs that have come to an end with their times, sizes and places; no file is read.

    The directories are those that are there: see ``listing``.
    """
    return {run_id: state for run_id, directory in directories.items() if (state := _state(directory)) is not None}


def _state(directory: Path) -> str | None:
    """The files of a run with their times, sizes and places; None where it has no end."""
    try:
        with os.scandir(directory) as entries:
            files = {entry.name: entry.stat() for entry in entries if entry.name in FILES}
    except OSError:
        return None
    if not any(end in files for end in ENDS):
        return None
    return " ".join(f"{name}:{file.st_mtime_ns}:{file.st_size}:{file.st_ino}" for name, file in sorted(files.items()))
