"""Slurm: runs as the tasks of job arrays, many runs in each, submitted by plain ``sbatch``.

A task is a fork server on its node, as on one machine, that trains its part of the runs one after the other. What
Slurm says is only ever used to know whether a task is still there; how a run ended the task itself writes, and the
store of runs is the truth. Jobs outlive the command that submitted them, and a later one finds them by their names.
"""

import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ..errors import InputError, StorageError
from ..secrets import redact
from ..stats.contrast import plural
from ..store.attempts import Ended, Order, all_attempts
from ..store.files import write_json
from ..store.listing import committed
from .base import CANCELED
from .death import tail
from .engine import Place
from .slurm_jobs import (
    CANCEL_MARK,
    FOLDER,
    PREFIX,
    Tasks,
    ask,
    cancel_arrays,
    largest_array,
    sbatch,
    signal_arrays,
    submitted,
    tasks_of,
)
from .slurm_task import HEADING, Outcomes, outcome_file

MOST_AT_ONCE = 100_000
"""Runs that are submitted: all of the largest grid, as those that come later would be arrays of a run or two."""
ASK_EVERY = 5.0
"""Seconds between two questions to Slurm."""
SUBMIT_EVERY = 30.0
"""Seconds until a submission is tried again that Slurm did not take."""
REFUSALS = 3
"""How often Slurm may refuse a submission while no job of the command is there, whose end could change that."""
PAUSE = 0.25
"""Seconds between two looks while all that is done is waiting."""
GRACE = 90.0
"""Seconds after which a run whose task is gone is given up: a network file system may show its end so late."""
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime")
"""Reasons to wait of which nothing has to be said: it will be their turn."""


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


@dataclass
class Array:
    """Runs that are to be submitted together."""

    name: str
    orders: list[Order]
    at_once: int | None
    """Tasks at a time."""
    refusals: int = 0
    """How often Slurm was given it and did not say that it has it, which it may all the same."""


class SlurmLauncher:
    """Submits all that was started since the last look as one array."""

    def __init__(self, request: Request, place: Place):
        self.request, self.place = request, place
        self.folder = place.root.absolute() / FOLDER
        self.store = place.root.absolute() / "store"
        self.waiting: list[Order] = []
        self.arrays: list[Array] = []
        """Of what was waiting, until Slurm has them."""
        self._running: dict[str, Order] = {}
        self.tasks: dict[str, tuple[str, int]] = {}
        """By run, the name of its array and the index of its task."""
        self.gone: dict[str, float] = {}
        """By run, since when its task is no longer known."""
        self.said: set[str] = set()
        """What is said once."""
        self.outcomes = Outcomes()
        self.asked, self.look_at, self.submit_at = 0.0, 0.0, 0.0
        self.most = largest_array()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from None
        self.adoptable = self._adoptable()
        attempts = all_attempts(self.store).items()
        self.earlier = {each for run_id, paths in attempts if run_id not in self.adoptable for each in paths}
        """Attempts of which it is known how they ended."""
        self._try_submission()

    @property
    def workers(self) -> int:
        return (self.request.at_once or MOST_AT_ONCE) * self.request.runs_at_once

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
        ended = self._look(self._told) if time.monotonic() >= self.look_at else []
        if self._running and time.monotonic() - self.asked > ASK_EVERY:
            self.asked = time.monotonic()
            ended += self._look(self._lost)
        return ended

    def stop(self, patience: float) -> list[Ended]:
        """Cancel the jobs; tasks write checkpoints meanwhile."""
        there = {name for name, _ in self.tasks.values()}
        names = there | {array.name for array in self.arrays if array.refusals}  # which Slurm may have all the same
        ended: list[Ended] = []
        if self._running and names:
            if patience:
                signal_arrays(names)
            end = time.monotonic() + patience
            while self._running and time.monotonic() < end and ask(names) != {}:
                time.sleep(PAUSE)
                ended += self._look(self._told)
            why = cancel_arrays(names)
            if why is None and there:
                self.place.say(f"slurm: {plural(len(there), 'job')} canceled")
            elif why is not None:
                self.place.say(f"slurm: jobs may go on, as they could not be canceled ({why}); see `ablate stop`")
            ended += self._look(self._told)
        ended += [Ended(run_id, "stopped") for run_id in self._running]
        self._running, self.waiting, self.arrays, self.tasks = {}, [], [], {}
        return ended

    def leave(self) -> None:
        """Leave the jobs to themselves. Errors: InputError where Slurm does not take them."""
        while self.waiting or self.arrays:
            self._submit()
            time.sleep(PAUSE)
        self._running, self.tasks = {}, {}

    def _submit(self) -> None:
        """Submit what waits. What Slurm does not take, as it is busy or has a limit, is tried again later.

        Errors: InputError, in Slurm's words, where nothing is there that could change that.
        """
        self._arrange()
        while self.arrays and time.monotonic() >= self.submit_at:
            array = self.arrays[0]
            there = ask([array.name]) if array.refusals else {}  # it may have it, though its answer did not come
            if there is None:
                self.submit_at = time.monotonic() + SUBMIT_EVERY
                return
            job = array.name
            if not there:
                try:
                    job = self._submit_array(array)
                except InputError as error:
                    array.refusals, self.submit_at = array.refusals + 1, time.monotonic() + SUBMIT_EVERY
                    if array.refusals >= REFUSALS and not self.tasks:
                        raise
                    self._say_once(f"slurm: {str(error).partition(': ')[2]}; tried again every {SUBMIT_EVERY:g} s")
                    return
            del self.arrays[0]
            for index, order in enumerate(array.orders):
                self.tasks[order.run_id] = array.name, index // self.request.runs_per_job
            together = f", {array.at_once} at once" if array.at_once else ""
            where = f" (partition {self.request.partition})" if self.request.partition else ""
            runs, tasks = plural(len(array.orders), "run"), plural(self._n_tasks(array), "task")
            self.place.say(f"slurm: {runs} as {tasks} of job {job}{where}{together}")

    def _submit_array(self, array: Array) -> str:
        """The number of its job. Errors: InputError."""
        limit = f"%{array.at_once}" if array.at_once else ""
        return self._sbatch(
            f"--array=0-{self._n_tasks(array) - 1}{limit}",
            f"--job-name={PREFIX}{array.name}",
            f"--output={self.folder}/{array.name}.%a.log",
            script=self._script("-m", "ablation.launch.slurm_task", str(self.folder / f"{array.name}.json")),
        )

    def _n_tasks(self, array: Array) -> int:
        return ceil(len(array.orders) / self.request.runs_per_job)

    def _arrange(self) -> None:
        """Make arrays of the orders that wait, and write down what their tasks are to train."""
        per_task, at_once = self.request.runs_per_job, self.request.at_once
        n_arrays = ceil(len(self.waiting) / (self.most * per_task))
        at_once = at_once and max(1, at_once // max(1, n_arrays))  # Slurm counts them in each array
        while self.waiting:
            orders, self.waiting = self.waiting[: self.most * per_task], self.waiting[self.most * per_task :]
            array = Array(uuid.uuid4().hex[:12], orders, at_once)
            content = {
                "grid": self.place.grid,
                "runs": [order.run_id for order in orders],
                "store": str(self.store),
                "runs_per_job": per_task,
                "at_once": self.request.runs_at_once,
                "ranks": self.place.ranks,
            }
            write_json(self.folder / f"{array.name}.json", content)
            self.arrays.append(array)

    def _sbatch(self, *arguments: str, script: str) -> str:
        return sbatch(*self.request.arguments, *arguments, script=script)

    def _try_submission(self) -> None:
        """Have Slurm say now what it would refuse, or leave waiting for ever without a word."""
        self._sbatch("--test-only", script=self._script("--version"))

    def _script(self, *words: str) -> str:
        quoted = " ".join(f"'{part}'" for part in (sys.executable, *words))
        return "\n".join(["#!/bin/bash", *self.request.setup, f"exec {quoted}", ""])

    def _told(self) -> list[Ended]:
        """What tasks have written of the runs that are waited for."""
        began = time.monotonic()
        there = set(self.folder.iterdir())  # a network file system remembers for a while what was not there
        files = {outcome_file(self.folder, *task): task for task in set(self.tasks.values())}
        found = [
            ended
            for file in sorted(files.keys() & there)
            for ended in self.outcomes.new(file)
            if self.tasks.get(ended.run_id) == files[file]  # not of an earlier try in another task
        ]
        self.look_at = time.monotonic() + 4 * (time.monotonic() - began)  # of a thousand tasks that takes a while
        return found

    def _look(self, look: Callable[[], list[Ended]]) -> list[Ended]:
        """The endings that a look finds, whose runs are waited for no longer."""
        try:
            ended = look()
        except OSError as error:  # as ESTALE of a network file system, which passes
            self._say_once(f"slurm: {error.filename}: cannot be read ({error.strerror}); it is tried again")
            return []
        for one in ended:
            self.earlier |= {self.store / "attempts" / one.where} if one.where else set()
            for known in (self._running, self.tasks, self.gone):
                known.pop(one.run_id, None)
        return ended

    def _lost(self) -> list[Ended]:
        """Runs whose tasks are gone without a word, once that is certain."""
        alive = ask({name for name, _ in self.tasks.values()})
        if alive is None:  # Slurm does not answer, from which nothing follows
            return []
        self._say_why_they_wait(alive)
        now, ended, lost = time.monotonic(), list[Ended](), dict[tuple[str, int], list[str]]()
        for run_id, task in self.tasks.items():
            if task in alive:
                self.gone.pop(run_id, None)
            elif (known := committed(self.store, run_id)) is not None:
                ended.append(known)
            elif (self.folder / f"{task[0]}{CANCEL_MARK}").exists():
                ended.append(Ended(run_id, "given_up", reason="canceled by `ablate stop`", cause=CANCELED))
            elif now - self.gone.setdefault(run_id, now) > GRACE:
                lost.setdefault(task, []).append(run_id)
        return [*ended, *self._conclude(lost)]

    def _conclude(self, lost: Mapping[tuple[str, int], list[str]]) -> list[Ended]:
        """How runs ended whose tasks are lost. Those whose turn had not come in their task are submitted once more."""
        attempts, ended = all_attempts(self.store) if lost else {}, list[Ended]()
        for task, run_ids in lost.items():
            new = {
                run_id: [each for each in attempts.get(run_id, []) if each not in self.earlier] for run_id in run_ids
            }
            has_begun = any(new.values()) or self.outcomes.has_read(outcome_file(self.folder, *task))
            reason = _why_gone(self.folder / f"{task[0]}.{task[1]}.log")
            for run_id, of_run in new.items():
                self.earlier |= set(of_run)
                if of_run:
                    ended.append(Ended(run_id, "stopped", reason=reason, where=of_run[-1].name))
                elif has_begun:
                    self.waiting.append(self._running[run_id])
                    del self.tasks[run_id], self.gone[run_id]
                else:
                    ended.append(Ended(run_id, "never_began", reason=reason))
        return ended

    def _say_why_they_wait(self, alive: Tasks) -> None:
        """Say once what Slurm waits for where it may wait for ever, such as ``PartitionTimeLimit``."""
        kinds = Counter(task.reason.partition(",")[0] for task in alive.values())  # behind it may be names of nodes
        for reason, count in kinds.items():
            if reason not in USUAL and reason not in self.said:
                self.said.add(reason)
                self.place.say(f"slurm: {plural(count, 'task')} waiting: {reason}")

    def _say_once(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            self.place.say(line)

    def _adoptable(self) -> dict[str, tuple[str, int]]:
        """By run, the tasks of earlier commands that are still going to train it.

        Errors: InputError where Slurm does not say which there are, as all would be submitted a second time.
        """
        arrays = submitted(self.folder)
        alive, found = tasks_of(arrays), dict[str, tuple[str, int]]()
        for (name, index), task in alive.items():
            if name not in arrays or task.state == "COMPLETING" or (self.folder / f"{name}{CANCEL_MARK}").exists():
                continue
            told = {ended.run_id for ended in Outcomes().new(outcome_file(self.folder, name, index))}
            per_task = arrays[name]["runs_per_job"]
            part = arrays[name]["runs"][index * per_task :][:per_task]
            found |= {run_id: (name, index) for run_id in part if run_id not in told}
        return found


def _why_gone(log: Path) -> str:
    """What is said of a run whose job is gone, with the last line of its log: often Slurm's, or the shell's."""
    lines = [line.strip() for line in tail(log).splitlines() if line.strip() and not line.startswith(HEADING)]
    return f"its job is gone{f': {redact(lines[-1])}' if lines else ' without a word'}; its log is in {log.parent}"
