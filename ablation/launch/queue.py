"""The queue of runs: trains what is missing, one run after another, whatever happens to any of them."""

import contextlib
import signal
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from ..errors import StorageError
from ..grid.plan import Run
from ..store.attempts import Ended
from ..store.listing import committed
from ..store.results import RunEnd
from ..store.runs import Store
from .base import CANCELED, Detachable, Isolating, Launcher
from .failures import Failures
from .tries import Tries

POLL_SECONDS = 0.25
"""Seconds between two checks of the processes."""
PATIENCE = 10.0
"""Seconds that runs are given, after Ctrl-C, to write down what they go on from."""


class RunListener(Protocol):
    """Receives the progress of runs."""

    def started(self, run: Run) -> None: ...
    def ended(self, run: Run, end: RunEnd, again: bool) -> None:
        """``again``: it will be started once more."""

    def tick(self) -> None:
        """Called about every ``POLL_SECONDS``, from the thread that runs the queue."""


@dataclass
class RunSummary:
    """How the runs of one command ended: how many by status; ``missing`` are those that came to no end."""

    statuses: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False
    left: bool = False
    """Whether the runs were left to an engine that trains them without this command."""
    gave_up: str | None = None
    """Why the runs that are left were not started, in a few lines: all failed alike."""
    conflicts: list[str] = field(default_factory=list)
    """Directories of attempts whose numbers differ from those of the run that was there before them."""

    @property
    def executed(self) -> int:
        return self.statuses.total() - self.statuses["missing"]


def run_queue(
    runs: Sequence[Run],
    store: Store,
    launcher: Launcher,
    listeners: Sequence[RunListener] = (),
    plugins: Sequence[Mapping[str, str]] = (),
    keep_going: bool = False,
    shorter_runs: Mapping[str, Path] = MappingProxyType({}),
    detach: bool = False,
    replaced: Collection[str] = (),
) -> RunSummary:
    """Train ``runs``; a failing one does not stop the others, Ctrl-C stops all.

    Where the first three that ended failed alike, the others are not trained unless ``keep_going``. ``plugins`` are
    their records, as ``Store.keep_plugins`` returns them; ``shorter_runs`` are the directories of those that runs go on
    from, by their ids. With ``detach`` a ``Detachable`` launcher is left with all of them. ``replaced`` are runs that
    have an end, and are to be trained all the same. Errors: StorageError when nothing can be written any more; running
    processes are ended first.
    """
    queue = _Queue(runs, store, launcher, listeners, plugins, keep_going, shorter_runs, set(replaced))
    if detach:
        queue.hand_over()
        return queue.summary
    patience = PATIENCE
    try:
        with _interruptible() as interrupt:
            while queue.is_open and not interrupt.is_set():
                queue.step(interrupt)
            queue.summary.interrupted = interrupt.is_set()
    except KeyboardInterrupt:  # the second
        patience = 0.0
        raise
    finally:
        for ended in launcher.stop(patience):
            queue.count_late(ended)
    return queue.summary


class _Queue:
    """The runs that are waiting, and what becomes of those that were started."""

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        launcher: Launcher,
        listeners: Sequence[RunListener],
        plugins: Sequence[Mapping[str, str]],
        keep_going: bool,
        shorter_runs: Mapping[str, Path],
        replaced: set[str],
    ):
        self.waiting, self.by_id = deque(runs), {run.id: run for run in runs}
        self.store, self.launcher, self.listeners, self.plugins = store, launcher, listeners, plugins
        self.summary, self.tries = RunSummary(), Tries()
        self.failures, self.shorter_runs = Failures(store, keep_going), shorter_runs
        self.replaced = replaced
        """Runs whose end is not to be taken for one by somebody else in the meantime."""

    @property
    def is_open(self) -> bool:
        if self.summary.gave_up is not None and isinstance(self.launcher, Detachable):
            return False  # it has taken all of them, and is to be stopped
        return bool(self.launcher.running or (self.waiting and self.summary.gave_up is None))

    def step(self, interrupt: threading.Event) -> None:
        """Start what there is place for, up to an interrupt, and take in what has ended."""
        while self.may_start() and not interrupt.is_set():
            run = self.waiting.popleft()
            known = self.start(run)
            for listener in self.listeners:
                listener.started(run)
            if known is not None:
                self.take(known)
        for ended in self.launcher.wait(POLL_SECONDS):
            self.take(ended)
        for listener in self.listeners:
            listener.tick()

    def start(self, run: Run) -> Ended | None:
        """Have a run trained; how it ended where somebody else has trained it since: a job that was left to itself."""
        keep_end = run.id not in self.replaced
        self.replaced.discard(run.id)
        order = self.store.order(run, self.plugins, self.shorter_runs.get(run.id), keep_end)
        if isinstance(order, Ended):
            return order
        if run.id in self.tries.alone and isinstance(self.launcher, Isolating):
            self.launcher.start_alone(order)
        else:
            self.launcher.start(order)
        return None

    def hand_over(self) -> None:
        """Start all runs and leave them to the launcher."""
        while self.waiting:
            run = self.waiting.popleft()
            if (known := self.start(run)) is not None:
                self.take(known)
        assert isinstance(self.launcher, Detachable), "its engine said that it can detach"
        self.launcher.leave()
        self.summary.left = True

    def may_start(self) -> bool:
        """Whether there is place; a run that needs all of the memory waits until it is alone, and the others for it."""
        if not self.waiting or not self.launcher.free or self.summary.gave_up is not None:
            return False
        running = self.launcher.running
        if isinstance(self.launcher, Isolating):
            return True
        return not running or not self.tries.alone & {self.waiting[0].id, *running}

    def take(self, ended: Ended) -> None:
        """Conclude an attempt: its run has come to an end, or is tried again, or is left for the next command."""
        run = self.by_id[ended.run_id]
        end, again = self.conclude(ended)
        if again and ended.cause == "crash":
            self.waiting.appendleft(run)  # the others may crash alike, which is known after three
        elif again:
            self.waiting.append(run)
        else:
            self.summary.statuses[end.status] += 1
            self.store.conclude(run.id)
            n_left = len(self.waiting) + (len(self.launcher.running) if isinstance(self.launcher, Detachable) else 0)
            if n_left and self.summary.gave_up is None and ended.cause != CANCELED:
                self.summary.gave_up = self.failures.reason_to_stop(run.id, end, n_left)
        for listener in self.listeners:
            listener.ended(run, end, again)

    def conclude(self, ended: Ended) -> tuple[RunEnd, bool]:
        """How the run stands now, and whether to try it once more."""
        match ended.how:
            case "storage" if ended.node is None:
                raise StorageError(ended.reason or "nothing can be written")
            case "storage":
                self.store.probe()  # where the command cannot write either, all ends
                again, reason = self.tries.again(ended, self.store), f"on {ended.node}: {ended.reason}"
                return RunEnd("missing", reason), again
            case "committed" | "conflict":
                if ended.how == "conflict":
                    self.summary.conflicts.append(ended.where)
                end = RunEnd(ended.status or "failed", ended.reason)
                return end, end.status == "oom" and self.is_tried_alone(ended)
            case "given_up":
                return RunEnd("missing", ended.reason), False
            case "stopped" | "never_began":
                again = self.tries.again(ended, self.store)
                return RunEnd("missing", ended.reason or "it was stopped from outside"), again
            case "died":
                if (known := committed(self.store.root / "store", ended.run_id)) is not None:
                    return RunEnd(known.status or "failed", known.reason), False  # it died after its last word
                again = self.tries.again(ended, self.store)
                if again:
                    return RunEnd("killed", ended.reason), True
                return self.store.record_death(ended), False

    def is_tried_alone(self, ended: Ended) -> bool:
        """Whether a run that lacked memory, and may have shared it with others, is tried once more, without them."""
        launcher = self.launcher
        if not (launcher.shares_gpus if isinstance(launcher, Isolating) else launcher.running):
            return False
        again = self.tries.again(replace(ended, cause="memory"), self.store)
        self.replaced |= {ended.run_id} if again else set()
        return again

    def count_late(self, ended: Ended) -> None:
        """An attempt that ended while all were ended: what is done is done."""
        if ended.how in ("committed", "conflict") and ended.status is not None:
            self.summary.statuses[ended.status] += 1
            with contextlib.suppress(StorageError):  # tidying up is not worth another error
                self.store.conclude(ended.run_id)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that it never interrupts two steps that belong together.

    The second one acts as usual.
    """
    interrupt = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield interrupt
        return

    def handle(*_: Any) -> None:
        interrupt.set()
        restore()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield interrupt
    finally:
        restore()
