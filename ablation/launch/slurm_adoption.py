"""What a command of Slurm finds of earlier ones: their tasks that still train runs, which it waits for."""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..store.listing import listed
from .slurm_jobs import MARKS, ended_runs, is_canceled, submitted, tasks_of
from .slurm_task import Outcomes, outcome_file

Arrays = Mapping[str, Mapping[str, Any]]
"""What was submitted, by the names of the arrays."""

SETTLED = 600.0
"""Seconds without a change after which no command reads any more what is written of an array that has ended.

That is longer than one waits for what tasks say, than it takes to submit an array, and than clocks may differ.
"""
KINDS = (".jsonl", *MARKS, ".json")
"""What is written of an array, by the ends of names; that by which it is found goes last."""


def adoptable(folder: Path) -> tuple[dict[str, tuple[str, int]], Arrays]:
    """By run, the tasks of earlier commands that are still going to train it; and the arrays that they are of.

    Errors: InputError where Slurm does not say which there are, as all would be submitted a second time.
    """
    arrays = submitted(folder)
    found = dict[str, tuple[str, int]]()
    alive = tasks_of(arrays)
    _remove_ended(folder, arrays.keys() - {name for name, _ in alive})
    for (name, index), task in alive.items():
        if name not in arrays or task.state == "COMPLETING" or is_canceled(folder, name):
            continue
        told = {ended.run_id for ended in Outcomes().new(outcome_file(folder, name, index))}
        per_task = arrays[name]["runs_per_job"]
        part = arrays[name]["runs"][index * per_task :][:per_task]
        found |= {run_id: (name, index) for run_id in part if run_id not in told}
    return found, {name: arrays[name] for name, _ in found.values()}


def _remove_ended(folder: Path, names: Collection[str]) -> None:
    """Remove what was written of arrays of which no task is left, but their logs."""
    files = defaultdict[str, list[Path]](list)
    with contextlib.suppress(OSError):  # tidying up is not worth an error
        for file in folder.iterdir():
            files[file.name.partition(".")[0]] += [file] if file.suffix in KINDS else []
        for name in names:
            about = [file.stat() for file in files[name]]
            is_own = {one.st_uid for one in about} == {os.getuid()}  # Slurm may hide the jobs of other users
            if is_own and time.time() - max(one.st_mtime for one in about) > SETTLED:
                for file in sorted(files[name], key=lambda file: KINDS.index(file.suffix)):
                    file.unlink(missing_ok=True)


def trains_others(folder: Path, name: str, runs: Collection[str], own: Collection[str]) -> bool:
    """Whether an array of ``runs`` is still to train one that is not ``own``; so it is where that cannot be read."""
    others = set(runs) - set(own)
    with contextlib.suppress(OSError):
        others -= ended_runs(folder, name)
        others -= listed(folder.parent / "store", others).keys()
    return bool(others)
