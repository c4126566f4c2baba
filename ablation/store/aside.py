"""Runs that were moved aside, into a folder of the store beside all runs, each time one more of them."""

from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path


def set_aside(directory: Path, store: Path, folder: str) -> Path:
    """Move a run, or an attempt, to a folder; returns where it is then. Errors: OSError."""
    (store / folder).mkdir(exist_ok=True)
    target = next(place for place in _places(store, directory.name, folder) if not place.exists())
    directory.rename(target)
    return target


def last_aside(store: Path, run_id: str, folder: str) -> Path | None:
    """What was moved there last of a run."""
    *_, last = None, *takewhile(Path.exists, _places(store, run_id, folder))
    return last


def _places(store: Path, name: str, folder: str) -> Iterator[Path]:
    return (store / folder / f"{name}-{number}" for number in count(1))
