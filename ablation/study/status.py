"""How far the runs of a grid are, at one moment: what ``ablate status`` shows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..store.results import FINISHED, RunStatus
from ..store.runs import Store
from .manifest import run_ids

if TYPE_CHECKING:
    from ..compare.progress import GridProgress


@dataclass(frozen=True)
class Snapshot:
    """A grid at one moment."""

    grid: str
    cells: Mapping[str, list[str]]
    """The ids of the runs of each cell, by its label."""
    statuses: Mapping[str, RunStatus]
    """By the id of the run."""
    progress: "GridProgress"
    submitted: int = 0
    """Runs that were submitted to Slurm, and have not begun as far as files say."""

    @property
    def over(self) -> bool:
        """Whether every run was trained to its end."""
        return all(status in FINISHED for status in self.statuses.values())

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the JSON of ``ablate status``."""
        cells = []
        for ids, so_far in zip(self.cells.values(), self.progress.cells, strict=True):
            cells.append({**asdict(so_far), "states": dict(Counter(self.statuses[run_id] for run_id in ids))})
        return {
            "grid": self.grid,
            "planned": len(self.statuses),
            "states": dict(Counter(self.statuses.values())),
            "submitted": self.submitted,
            "partial": not self.over,
            "tokens": self.progress.tokens,
            "cells": cells,
        }


def take_snapshot(manifest: Mapping[str, Any], store: Store) -> Snapshot:
    """The status of every run of a manifest, and the losses of its cells at equal tokens."""
    from ..compare.progress import METRIC, compare_progress, evaluated, loss_line
    from ..launch.slurm_jobs import waiting

    results = store.results(run_ids(manifest))
    lines = {run_id: evaluated(result.evaluations) for run_id, result in results.items() if result.ended}
    rows = store.rows_of(results.keys() - lines.keys(), METRIC)
    lines |= {run_id: loss_line(of_run) for run_id, of_run in rows.items()}
    statuses = {run_id: result.status for run_id, result in results.items()}
    finished = {run_id for run_id, status in statuses.items() if status in FINISHED}
    cells = {cell["label"]: [run["id"] for run in cell["runs"]] for cell in manifest["cells"]}
    submitted = sum(statuses.get(run_id) == "missing" for run_id in waiting(store.root, manifest["grid"]))
    return Snapshot(manifest["grid"], cells, statuses, compare_progress(manifest, lines, finished), submitted)
