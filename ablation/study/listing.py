"""What a folder of runs holds: its grids, and their runs with how far each has come."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError, nearest
from ..store.results import RunStatus
from ..store.runs import Store
from .folder import grids_in
from .manifest import read_manifest


@dataclass(frozen=True)
class ListedRun:
    """One run of a grid."""

    id: str
    cell: str
    seed: int
    status: RunStatus
    reason: str | None


@dataclass(frozen=True)
class ListedGrid:
    """A grid with those of its runs that were asked for."""

    name: str
    runs: tuple[ListedRun, ...]
    problem: str | None = None
    """Why its runs are not known."""

    @property
    def states(self) -> dict[str, int]:
        """How many runs have each status."""
        return dict(sorted(Counter(run.status for run in self.runs).items()))

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the JSON of ``ablate list``."""
        return {
            "grid": self.name,
            "states": self.states,
            "problem": self.problem,
            "runs": [asdict(run) for run in self.runs],
        }


def list_grids(store: Store, grid: str | None = None, statuses: Sequence[str] = ()) -> list[ListedGrid]:
    """All grids of a store, or one, with their runs; or those that have runs of these statuses, with these.

    Errors: InputError where there is no such grid; StorageError where the folder cannot be read.
    """
    names = grids_in(store)
    if grid is not None and grid not in names:
        known = f"; grids: {', '.join(names)}{nearest(grid, names)}" if names else ""
        raise InputError(f"GRID {grid}: no grid in {store.root} has that name{known}")
    found = [_listed(store.root / name, store, statuses) for name in names if grid in (None, name)]
    return [each for each in found if each.runs or each.problem or not statuses]


def _listed(folder: Path, store: Store, statuses: Sequence[str]) -> ListedGrid:
    try:
        manifest = read_manifest(folder) or {"cells": []}
    except StorageError as error:
        return ListedGrid(folder.name, (), str(error))
    runs = [(cell["label"], run["seed"], run["id"]) for cell in manifest["cells"] for run in cell["runs"]]
    ends = store.ends(run_id for *_, run_id in runs)
    return ListedGrid(
        folder.name,
        tuple(
            ListedRun(run_id, label, seed, ends[run_id].status, ends[run_id].reason)
            for label, seed, run_id in runs
            if not statuses or ends[run_id].status in statuses
        ),
    )
