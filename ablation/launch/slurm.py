"""Slurm: runs as the tasks of job arrays, many runs in each, submitted by plain ``sbatch``.

A task is a fork server on its node, as on one machine, that trains its part of the runs one after the other. What
Slurm says is only ever used to know whether a task is still there; how a run ended the task itself writes, and the
store of runs is the truth. Jobs outlive the command that submitted them, and a later one finds them by their names.
"""

import re
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Annotated

from pydantic import Field

from ..errors import InputError, StorageError
from ..registry import register
from ..stats.contrast import plural
from ..store.attempts import Ended, Order
from ..store.files import write_json
from ..store.listing import committed
from .base import Launcher
from .engine import Engine, Place
from .slurm_jobs import FOLDER, PREFIX, alive_tasks, by_name, call, submitted
from .slurm_task import Outcomes, outcome_file

MOST_AT_ONCE = 100_000
"""Runs that are submitted: all of the largest grid, as those that come later would be arrays of a run or two."""
ASK_EVERY = 5.0
"""Seconds between two questions to Slurm."""
GRACE = 90.0
"""Seconds after which a run whose task is gone is given up: a network file system may show its end so late."""
SHORTEST = 5
"""Minutes: Slurm may warn a minute early, and a task takes seconds to import."""
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime")
"""Reasons to wait of which nothing has to be said: it will be their turn."""


@register("launcher", "slurm", source="Yoo et al. 2003, SLURM: Simple Linux Utility for Resource Management")
class Slurm(Engine):
    """Job arrays of Slurm, ``runs_per_job`` runs in a task, ``at_once`` tasks at a time.

    A run gets ``cpus``, ``memory`` and ``gpus``; below 1, several runs share one GPU, whose memory is not divided.
    ``setup`` are lines of shell before Python starts, ``options`` go to ``sbatch`` as they are.
    """

    can_detach = True

    def __init__(
        self,
        *,
        cpus: Annotated[int, Field(ge=1)] | None = None,
        memory: str | None = None,
        gpus: Annotated[float, Field(ge=0)] = 0.0,
        runs_per_job: Annotated[int, Field(ge=1)] = 20,
        at_once: Annotated[int, Field(ge=1)] | None = None,
        setup: list[str] = [],  # noqa: B006  pydantic copies it
        options: dict[str, str | int] = {},  # noqa: B006
    ):
        self.cpus, self.memory, self.gpus = cpus, memory, gpus
        self.runs_per_job, self.at_once, self.setup, self.options = runs_per_job, at_once, setup, options

    def open(self, place: Place) -> Launcher:
        if shutil.which("sbatch") is None:
            raise InputError("--launcher slurm: sbatch is not on the path; run it where jobs are submitted")
        self._check_time()
        return SlurmLauncher(self, place)

    @property
    def runs_at_once(self) -> int:
        """In one task: several only where they share a GPU."""
        return int(1 / self.gpus) if 0 < self.gpus < 1 else 1

    def arguments(self, threads: int) -> list[str]:
        """Those of ``sbatch`` that ask for a task's resources."""
        together = self.runs_at_once
        found = [f"--cpus-per-task={(self.cpus or threads) * together}"]
        found += [f"--gres=gpu:{ceil(self.gpus)}"] if self.gpus else []
        found += [f"--mem={self.memory}"] if self.memory else []
        return [*found, *(f"--{name}={value}" for name, value in self.options.items())]

    def _check_time(self) -> None:
        limit = self.options.get("time")
        if limit is not None and _minutes(str(limit)) < SHORTEST:
            what = f"a time limit of {limit} is too short; runs go on in another job, but {SHORTEST} minutes are needed"
            raise InputError(f"--launcher slurm: {what}")


class SlurmLauncher:
    """Submits all that was started since the last look as one array."""

    def __init__(self, engine: Slurm, place: Place):
        self.engine, self.place = engine, place
        self.folder = place.root.absolute() / FOLDER
        self.waiting: list[Order] = []
        self._running: dict[str, Order] = {}
        self.tasks: dict[str, tuple[str, int]] = {}
        """By run, the name of its array and the index of its task."""
        self.gone: dict[str, float] = {}
        """By run, since when its task is no longer known."""
        self.said: set[str] = set()
        """Reasons to wait that have been said."""
        self.outcomes = Outcomes()
        self.asked, self.look_at = 0.0, 0.0
        self.most = _largest_array()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from None
        self.adoptable = self._adoptable()
        self._try_submission()

    @property
    def workers(self) -> int:
        return self.engine.at_once or 1

    @property
    def free(self) -> int:
        return MOST_AT_ONCE - len(self._running)

    @property
    def running(self) -> Mapping[str, Order]:
        return self._running

    def start(self, order: Order) -> None:
        self._running[order.run_id] = order
        task = self.adoptable.pop(order.run_id, None)
        if task is None:
            self.waiting.append(order)
        else:
            self.tasks[order.run_id] = task

    def wait(self, seconds: float) -> list[Ended]:
        self._submit()
        time.sleep(seconds)
        ended = self._told() if time.monotonic() >= self.look_at else []
        if self._running and time.monotonic() - self.asked > ASK_EVERY:
            self.asked = time.monotonic()
            ended += self._lost()
        return ended

    def stop(self, patience: float) -> list[Ended]:
        """Cancel the jobs; tasks write checkpoints meanwhile."""
        names = sorted({name for name, _ in self.tasks.values()})
        ended: list[Ended] = []
        if self._running and names:
            if patience:
                call("scancel", "--full", "--signal=TERM", *by_name(names))
            end = time.monotonic() + patience
            while self._running and time.monotonic() < end and self._alive():
                time.sleep(0.25)
                ended += self._told()
            call("scancel", *by_name(names))
            ended += self._told()
        ended += [Ended(run_id, "stopped") for run_id in self._running]
        self._running, self.waiting, self.tasks = {}, [], {}
        return ended

    def leave(self) -> None:
        """Leave the jobs to themselves."""
        self._submit()
        self._running, self.tasks = {}, {}

    def _submit(self) -> None:
        per_task, at_once = self.engine.runs_per_job, self.engine.at_once
        n_arrays = ceil(len(self.waiting) / (self.most * per_task))
        at_once = at_once and max(1, at_once // max(1, n_arrays))  # Slurm counts them in each array
        while self.waiting:
            orders, self.waiting = self.waiting[: self.most * per_task], self.waiting[self.most * per_task :]
            name = uuid.uuid4().hex[:12]
            file, n_tasks = self.folder / f"{name}.json", ceil(len(orders) / per_task)
            content = {
                "grid": self.place.grid,
                "runs": [order.run_id for order in orders],
                "store": str(orders[0].store.absolute()),
                "runs_per_job": per_task,
                "at_once": self.engine.runs_at_once,
                "ranks": self.place.ranks,
            }
            write_json(file, content)
            limit = f"%{at_once}" if at_once else ""
            job = self._sbatch(
                f"--array=0-{n_tasks - 1}{limit}",
                f"--job-name={PREFIX}{name}",
                f"--output={self.folder}/{name}.%a.log",
                script=self._script([sys.executable, "-m", "ablation.launch.slurm_task", str(file)]),
            )
            for index, order in enumerate(orders):
                self.tasks[order.run_id] = name, index // per_task
            together = f", {at_once} at once" if at_once else ""
            partition = self.engine.options.get("partition")
            where = f" (partition {partition})" if partition else ""
            runs, tasks = plural(len(orders), "run"), plural(n_tasks, "task")
            self.place.say(f"slurm: {runs} as {tasks} of job {job}{where}{together}")

    def _sbatch(self, *arguments: str, script: str) -> str:
        command = [
            "sbatch",
            "--parsable",
            "--requeue",
            "--open-mode=append",
            "--signal=B:TERM@30",
            *self.engine.arguments(self.place.threads),
            *arguments,
        ]
        answer = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise InputError(f"--launcher slurm: {_last_line(answer.stderr)}")
        return answer.stdout.strip().partition(";")[0]

    def _try_submission(self) -> None:
        """Have Slurm say now what it would refuse, or leave waiting for ever without a word."""
        self._sbatch("--test-only", script=self._script(["true"]))

    def _script(self, command: Sequence[str]) -> str:
        quoted = " ".join(f"'{part}'" for part in command)
        return "\n".join(["#!/bin/bash", *self.engine.setup, f"exec {quoted}", ""])

    def _told(self) -> list[Ended]:
        """What tasks have written of the runs that are waited for."""
        began = time.monotonic()
        there = set(self.folder.iterdir())  # a network file system remembers for a while what was not there
        files = {outcome_file(self.folder, *task) for task in set(self.tasks.values())} & there
        found = [ended for file in sorted(files) for ended in self.outcomes.new(file) if ended.run_id in self._running]
        for ended in found:
            self._forget(ended.run_id)
        self.look_at = time.monotonic() + 4 * (time.monotonic() - began)  # of a thousand tasks that takes a while
        return found

    def _lost(self) -> list[Ended]:
        """Runs whose tasks are gone without a word, once that is certain."""
        alive = self._alive()
        if alive is None:  # Slurm does not answer, from which nothing follows
            return []
        self._say_why_they_wait(alive)
        now, lost = time.monotonic(), []
        for run_id, task in list(self.tasks.items()):
            if task in alive or run_id not in self._running:
                self.gone.pop(run_id, None)
                continue
            if (known := committed(self._running[run_id].store.absolute(), run_id)) is not None:
                lost.append(known)
            elif now - self.gone.setdefault(run_id, now) > GRACE:
                lost.append(Ended(run_id, "stopped", reason="its job is gone without a word"))
        for ended in lost:
            self._forget(ended.run_id)
        return lost

    def _say_why_they_wait(self, reasons: Mapping[tuple[str, int], str]) -> None:
        """Say once what Slurm waits for where it may wait for ever, such as ``PartitionTimeLimit``."""
        kinds = Counter(reason.partition(",")[0] for reason in reasons.values())  # behind it may be names of nodes
        for reason, count in kinds.items():
            if reason not in USUAL and reason not in self.said:
                self.said.add(reason)
                self.place.say(f"slurm: {plural(count, 'task')} waiting: {reason}")

    def _forget(self, run_id: str) -> None:
        for known in (self._running, self.tasks, self.gone):
            known.pop(run_id, None)

    def _alive(self) -> dict[tuple[str, int], str] | None:
        names = {name for name, _ in self.tasks.values()}
        return alive_tasks(names) if names else {}

    def _adoptable(self) -> dict[str, tuple[str, int]]:
        """By run, the tasks of earlier commands that are still there."""
        arrays = submitted(self.folder, None)
        alive = alive_tasks(arrays) if arrays else {}
        return {
            run_id: (name, index // content["runs_per_job"])
            for name, content in arrays.items()
            for index, run_id in enumerate(content["runs"])
            if (name, index // content["runs_per_job"]) in (alive or ())
        }


def _largest_array() -> int:
    """How many tasks an array may have, as the cluster says, else Slurm's own default."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout)
    return max(1, (int(found[1]) if found else 1001) - 1)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ") if lines else "sbatch failed without a word"


def _minutes(limit: str) -> float:
    """Of Slurm's forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on."""
    days, dash, rest = limit.partition("-")
    if not dash:
        days, rest = "0", limit
    parts = [float(part) for part in rest.split(":") if part.replace(".", "").isdigit()]
    if dash:
        hours, minutes, seconds = [*parts, 0.0, 0.0, 0.0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0.0, [*parts, 0.0, 0.0][:2]
    return float(days or 0) * 1440 + hours * 60 + minutes + seconds / 60
