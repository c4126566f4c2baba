"""What is submitted to Slurm: arrays of the runs that wait, again where Slurm did not take them."""

import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ..errors import InputError
from ..stats.contrast import plural
from ..store.attempts import Order
from ..store.files import write_json
from .engine import Place
from .slurm_jobs import PREFIX, ask, largest_array, sbatch

SUBMIT_EVERY = 30.0
"""Seconds until a submission is tried again that Slurm did not take."""
REFUSALS = 3
"""How often Slurm may refuse a submission while no job of the command is there, whose end could change that."""


@dataclass(frozen=True)
class Request:
    """What is asked of Slurm."""

    arguments: Sequence[str]
    """Of ``sbatch``, for a task."""
    setup: Sequence[str]
    """Lines of shell before Python starts."""
    runs_per_job: int
    """Runs of a task."""
    runs_at_once: int
    """Of those."""
    at_once: int | None
    """Tasks at a time."""
    partition: str | None
    gpus: bool
    """Whether tasks get any."""


@dataclass
class Array:
    """Runs that are to be submitted together."""

    name: str
    orders: list[Order]
    at_once: int | None
    """Tasks at a time."""
    refusals: int = 0
    """How often Slurm was given it and did not say that it has it, which it may all the same."""


class Submission:
    """Submits all that was added since the last time as one array, or as few as the cluster allows."""

    def __init__(self, request: Request, place: Place, folder: Path):
        self.request, self.place, self.folder = request, place, folder
        self.orders: list[Order] = []
        self.arrays: list[Array] = []
        """Of earlier orders, until Slurm has them."""
        self.submit_at = 0.0
        self.most = largest_array()

    def check(self) -> None:
        """Have Slurm say now what it would refuse, or leave waiting for ever. Errors: InputError, in its words."""
        self._sbatch("--test-only", script=self._script("--version"))

    @property
    def is_open(self) -> bool:
        """Whether anything is left to be submitted."""
        return bool(self.orders or self.arrays)

    @property
    def names(self) -> set[str]:
        """Of arrays that Slurm may have, though it did not say so."""
        return {array.name for array in self.arrays if array.refusals}

    def submit(self, has_jobs: bool) -> dict[str, tuple[str, int]]:
        """Submit what waits; returns by run the name of its array and the index of its task.

        What Slurm does not take, as it is busy or has a limit, is tried again later. Errors: InputError, in Slurm's
        words, where that happens again and again, and no job is there (``has_jobs``) whose end could change it.
        """
        self._arrange()
        submitted: dict[str, tuple[str, int]] = {}
        while self.arrays and time.monotonic() >= self.submit_at:
            array = self.arrays[0]
            there = ask([array.name]) if array.refusals else {}  # it may have it, though its answer did not come
            if there is None:
                self.submit_at = time.monotonic() + SUBMIT_EVERY
                break
            job = array.name
            if not there:
                try:
                    job = self._submit_array(array)
                except InputError as error:
                    array.refusals, self.submit_at = array.refusals + 1, time.monotonic() + SUBMIT_EVERY
                    if array.refusals >= REFUSALS and not has_jobs and not submitted:
                        raise
                    if array.refusals == 1:
                        why = str(error).removeprefix("--launcher slurm: ")
                        self.place.say(f"slurm: {why}; tried again every {SUBMIT_EVERY:g} s")
                    break
            del self.arrays[0]
            for index, order in enumerate(array.orders):
                submitted[order.run_id] = array.name, index // self.request.runs_per_job
            together = f", {array.at_once} at once" if array.at_once else ""
            where = f" (partition {self.request.partition})" if self.request.partition else ""
            runs, tasks = plural(len(array.orders), "run"), plural(self._n_tasks(array), "task")
            self.place.say(f"slurm: {runs} as {tasks} of job {job}{where}{together}")
        return submitted

    def _arrange(self) -> None:
        """Make arrays of the orders that wait."""
        per_task, at_once = self.request.runs_per_job, self.request.at_once
        n_arrays = ceil(len(self.orders) / (self.most * per_task))
        at_once = at_once and max(1, at_once // max(1, n_arrays))  # Slurm counts them in each array
        while self.orders:
            orders, self.orders = self.orders[: self.most * per_task], self.orders[self.most * per_task :]
            self.arrays.append(Array(uuid.uuid4().hex[:12], orders, at_once))

    def _submit_array(self, array: Array) -> str:
        """Write down what its tasks are to train, and submit it; returns the number of its job. Errors: InputError."""
        content = {
            "grid": self.place.grid,
            "runs": [order.run_id for order in array.orders],
            "store": str(array.orders[0].store.absolute()),
            "runs_per_job": self.request.runs_per_job,
            "at_once": self.request.runs_at_once,
            "ranks": self.place.ranks,
            "gpus": self.request.gpus,
        }
        write_json(self.folder / f"{array.name}.json", content)  # only now, as others take what has one for submitted
        limit = f"%{array.at_once}" if array.at_once else ""
        return self._sbatch(
            f"--array=0-{self._n_tasks(array) - 1}{limit}",
            f"--job-name={PREFIX}{array.name}",
            f"--output={self.folder}/{array.name}.%a.log",
            script=self._script("-m", "ablation.launch.slurm_task", str(self.folder / f"{array.name}.json")),
        )

    def _n_tasks(self, array: Array) -> int:
        return ceil(len(array.orders) / self.request.runs_per_job)

    def _sbatch(self, *arguments: str, script: str) -> str:
        return sbatch(*self.request.arguments, *arguments, script=script)

    def _script(self, *words: str) -> str:
        quoted = " ".join(f"'{part}'" for part in (sys.executable, *words))
        return "\n".join(["#!/bin/bash", *self.request.setup, f"exec {quoted}", ""])
