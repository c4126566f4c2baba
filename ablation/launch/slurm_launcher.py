"""Slurm: runs as the tasks of job arrays, many runs in each, submitted by plain ``sbatch``.

A task is a fork server on its node, as on one machine, that trains its part of the runs one after the other. What
Slurm says is only ever used to know whether a task is still there; how a run ended the task itself writes, and the
store of runs is the truth. Jobs outlive the command that submitted them, and a later one finds them by their names.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ..errors import InputError, StorageError
from ..secrets import redact
from ..stats.contrast import plural
from ..store.attempts import Ended, Order, all_attempts
from ..store.files import unreadable
from ..store.listing import committed
from .base import CANCELED
from .death import tail
from .engine import Place
from .slurm_adoption import adoptable, trains_others
from .slurm_jobs import (
    CANCEL_MARK,
    FOLDER,
    INTERRUPT_MARK,
    Tasks,
    ask,
    cancel_arrays,
    is_canceled,
    signal_arrays,
)
from .slurm_submission import Request, Submission
from .slurm_task import HEADING, Outcomes, outcome_file

MOST_AT_ONCE = 100_000
"""Runs that are submitted: all of the largest grid, as those that come later would be arrays of a run or two."""
ASK_EVERY = 5.0
"""Seconds between two questions to Slurm."""
PAUSE = 0.25
"""Seconds between two looks while all that is done is waiting."""
GRACE = 90.0
"""Seconds after which a run whose task is gone is given up: a network file system may show its end so late."""
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime")
"""Reasons to wait of which nothing has to be said: it will be their turn."""


class SlurmLauncher:
    """Submits what was started since the last look, and follows what becomes of it."""

    def __init__(self, request: Request, place: Place):
        self.request, self.place, self.said = request, place, set[str]()
        self.folder = place.root.absolute() / FOLDER
        self.store = place.root.absolute() / "store"
        self._running: dict[str, Order] = {}
        self.started = set[str]()
        """All runs that were handed over."""
        self.tasks: dict[str, tuple[str, int]] = {}
        """By run, the name of its array and the index of its task."""
        self.gone: dict[str, float] = {}
        """By run, since when its task is no longer known."""
        self.outcomes = Outcomes()
        self.asked, self.look_at = 0.0, 0.0
        self.submission = Submission(request, place, self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.adoptable, self.adopted = adoptable(self.folder)
            attempts = all_attempts(self.store).items()
        except OSError as error:
            raise StorageError(f"{error.filename or self.folder}: {error.strerror}") from None
        self.earlier = {each for run_id, paths in attempts if run_id not in self.adoptable for each in paths}
        """Attempts of which it is known how they ended."""
        self.submission.check()

    @property
    def workers(self) -> int:
        return (self.request.at_once or MOST_AT_ONCE) * self.request.runs_at_once

    @property
    def shares_gpus(self) -> bool:
        """Whether several runs train on one GPU."""
        return self.request.runs_at_once > 1

    @property
    def free(self) -> int:
        return MOST_AT_ONCE - len(self._running)

    @property
    def running(self) -> Mapping[str, Order]:
        return self._running

    def start(self, order: Order) -> None:
        self._running[order.run_id] = order
        self.started.add(order.run_id)
        task = self.adoptable.pop(order.run_id, None)
        if task is None:
            self.submission.add(order)
        else:
            self.tasks[order.run_id] = task

    def start_alone(self, order: Order) -> None:
        self._running[order.run_id] = order
        self.started.add(order.run_id)
        self.submission.add(order, alone=True)

    def wait(self, seconds: float) -> list[Ended]:
        self._submit()
        time.sleep(seconds)
        ended = self._look(self._told) if time.monotonic() >= self.look_at else []
        if self._running and time.monotonic() - self.asked > ASK_EVERY:
            self.asked = time.monotonic()
            ended += self._look(self._lost)
        return ended

    def stop(self, patience: float) -> list[Ended]:
        """Cancel the jobs, but earlier ones that train runs of others too; tasks write checkpoints meanwhile."""
        there = {name for name, _ in self.tasks.values()}
        left = {
            name
            for name in there & self.adopted.keys()
            if trains_others(self.folder, name, self.adopted[name]["runs"], self.started)
        }
        own, ended = there - left, list[Ended]()
        if self._running and (names := own | self.submission.names):
            try:
                ended += self._write_checkpoints(names, patience)
            finally:  # also where that was interrupted, or failed
                self._cancel(names, len(own))
            ended += self._look(self._told)
        if left:
            jobs = plural(len(left), "job")
            self.place.say(f"slurm: {jobs} not canceled, as other runs are trained there too; see `ablate stop`")
        ended += [Ended(run_id, "stopped") for run_id in self._running]
        self._running, self.tasks = {}, {}
        return ended

    def leave(self) -> None:
        """Leave the jobs to themselves. Errors: InputError where Slurm does not take them."""
        try:
            while self.submission.is_open:
                self._submit()
                time.sleep(PAUSE)
        except InputError:
            self.stop(0.0)
            raise
        self._running, self.tasks = {}, {}

    def _write_checkpoints(self, names: Collection[str], patience: float) -> list[Ended]:
        """Ask the tasks of arrays to, and wait until they have; returns the runs that end meanwhile."""
        ended = list[Ended]()
        if patience:
            signal_arrays(names)
        end = time.monotonic() + patience
        while self._running and time.monotonic() < end and ask(names) != {}:
            time.sleep(PAUSE)
            ended += self._look(self._told)
        return ended

    def _cancel(self, names: Collection[str], n_jobs: int) -> None:
        """Cancel arrays, of which so many are known to be there."""
        if (why := cancel_arrays(names)) is not None:
            self.place.say(f"slurm: jobs may go on, as they could not be canceled ({why}); see `ablate stop`")
            return
        with contextlib.suppress(OSError):  # it serves what others say of them
            for name in names:
                (self.folder / f"{name}{INTERRUPT_MARK}").touch()
        if n_jobs:
            self.place.say(f"slurm: {plural(n_jobs, 'job')} canceled")

    def _submit(self) -> None:
        self.tasks |= self.submission.submit(bool(self.tasks))

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
        except (OSError, StorageError) as error:  # as ESTALE of a network file system, which passes
            why = error if isinstance(error, StorageError) else unreadable(Path(error.filename or self.folder), error)
            self._say_once(f"slurm: {why}; it is tried again")
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
            if task in alive and alive[task].state != "COMPLETING":  # in which a node that hangs keeps one for ever
                self.gone.pop(run_id, None)
            elif (known := self._committed(run_id)) is not None:
                ended.append(known)
            elif is_canceled(self.folder, task[0], [CANCEL_MARK]):
                ended.append(Ended(run_id, "given_up", reason="canceled by `ablate stop`", cause=CANCELED))
            elif now - self.gone.setdefault(run_id, now) > GRACE:
                lost.setdefault(task, []).append(run_id)
        return [*ended, *self._conclude(lost)]

    def _committed(self, run_id: str) -> Ended | None:
        """How a run ended; None also where that cannot be read, as its next order keeps an end that is there."""
        with contextlib.suppress(OSError, StorageError):
            return committed(self.store, run_id)
        return None

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
                    self.submission.add(self._running[run_id])
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


def _why_gone(log: Path) -> str:
    """What is said of a run whose job is gone, with the last line of its log: often Slurm's, or the shell's."""
    lines = [line.strip() for line in tail(log).splitlines() if line.strip() and not line.startswith(HEADING)]
    return f"its job is gone{f': {redact(lines[-1])}' if lines else ' without a word'}; its log is in {log.parent}"
