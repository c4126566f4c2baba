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
    runs_per_job: int
    runs_at_once: int
    """Of those of a task."""
    refusals: int = 0
    """How often Slurm was given it and did not say that it has it, which it may all the same."""

    @property
    def n_tasks(self) -> int:
        return ceil(len(self.orders) / self.runs_per_job)


class Submission:
    """Submits all that was added since the last time as one array, or as few as the cluster allows."""

    def __init__(self, request: Request, place: Place, folder: Path):
        self.request, self.place, self.folder = request, place, folder
        self.orders: list[Order] = []
        self.alone = set[str]()
        """Runs each of which has an array of its own: they need all the memory of a task."""
        self.arrays: list[Array] = []
        """Of earlier orders, until Slurm has them."""
        self.submit_at = 0.0
        self.most = largest_array()

    def check(self) -> None:
        """Have Slurm say now what it would refuse, or leave waiting for ever. Errors: InputError, in its words."""
        self._sbatch("--test-only", script=self._script("--version"))

    def add(self, order: Order, alone: bool = False) -> None:
        """Have a run submitted, where it is to be ``alone`` in an array of its own."""
        self.orders.append(order)
        if alone:
            self.alone.add(order.run_id)

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
                submitted[order.run_id] = array.name, index // array.runs_per_job
            together = f", {array.at_once} at once" if array.at_once else ""
            where = f" (partition {self.request.partition})" if self.request.partition else ""
            runs, tasks = plural(len(array.orders), "run"), plural(array.n_tasks, "task")
            self.place.say(f"slurm: {runs} as {tasks} of job {job}{where}{together}")
        return submitted

    def _arrange(self) -> None:
        """Make arrays of the orders that wait."""
        together = [order for order in self.orders if order.run_id not in self.alone]
        self.arrays += [
            Array(uuid.uuid4().hex[:12], [order], at_once=None, runs_per_job=1, runs_at_once=1)
            for order in self.orders
            if order.run_id in self.alone
        ]
        per_task, at_once, size = self.request.runs_per_job, self.request.at_once, self.most * self.request.runs_per_job
        parts = [together[first : first + size] for first in range(0, len(together), size)]
        at_once = at_once and max(1, at_once // max(1, len(parts)))  # Slurm counts them in each array
        self.arrays += [
            Array(uuid.uuid4().hex[:12], part, at_once, per_task, self.request.runs_at_once) for part in parts
        ]
        self.orders = []

    def _submit_array(self, array: Array) -> str:
        """Write down what its tasks are to train, and submit it; returns the number of its job. Errors: InputError."""
        content = {
            "grid": self.place.grid,
            "runs": [order.run_id for order in array.orders],
            "store": str(array.orders[0].store.absolute()),
            "runs_per_job": array.runs_per_job,
            "at_once": array.runs_at_once,
            "ranks": self.place.ranks,
            "gpus": self.request.gpus,
        }
        write_json(self.folder / f"{array.name}.json", content)  # only now, as others take what has one for submitted
        limit = f"%{array.at_once}" if array.at_once else ""
        return self._sbatch(
            f"--array=0-{array.n_tasks - 1}{limit}",
            f"--job-name={PREFIX}{array.name}",
            f"--output={self.folder}/{array.name}.%a.log",
            script=self._script("-m", "ablation.launch.slurm_task", str(self.folder / f"{array.name}.json")),
        )

    def _sbatch(self, *arguments: str, script: str) -> str:
        return sbatch(*self.request.arguments, *arguments, script=script)

    def _script(self, *words: str) -> str:
        quoted = " ".join(f"'{part}'" for part in (sys.executable, *words))
        return "\n".join(["#!/bin/bash", *self.request.setup, f"exec {quoted}", ""])
