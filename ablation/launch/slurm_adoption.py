"""What a command of Slurm finds of earlier ones: their tasks that still train runs, which it waits for."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..store.listing import listed
from .slurm_jobs import ended_runs, is_canceled, submitted, tasks_of
from .slurm_task import Outcomes, outcome_file

Arrays = Mapping[str, Mapping[str, Any]]
"""What was submitted, by the names of the arrays."""


def adoptable(folder: Path) -> tuple[dict[str, tuple[str, int]], Arrays]:
    """By run, the tasks of earlier commands that are still going to train it; and the arrays that they are of.

    Errors: InputError where Slurm does not say which there are, as all would be submitted a second time.
    """
    arrays = submitted(folder)
    found = dict[str, tuple[str, int]]()
    for (name, index), task in tasks_of(arrays).items():
        if name not in arrays or task.state == "COMPLETING" or is_canceled(folder, name):
            continue
        told = {ended.run_id for ended in Outcomes().new(outcome_file(folder, name, index))}
        per_task = arrays[name]["runs_per_job"]
        part = arrays[name]["runs"][index * per_task :][:per_task]
        found |= {run_id: (name, index) for run_id in part if run_id not in told}
    return found, {name: arrays[name] for name, _ in found.values()}


def trains_others(folder: Path, name: str, runs: Collection[str], own: Collection[str]) -> bool:
    """Whether an array of ``runs`` is still to train one that is not ``own``; so it is where that cannot be read."""
    others = set(runs) - set(own)
    with contextlib.suppress(OSError):
        others -= ended_runs(folder, name)
        others -= listed(folder.parent / "store", others).keys()
    return bool(others)
