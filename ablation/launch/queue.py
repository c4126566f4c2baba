"""The queue of runs: trains what is missing, one run after another, whatever happens to any of them."""

import contextlib
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..grid.plan import Run
from ..plugins import Plugin
from ..store.files import write_json
from ..store.results import SCHEMA, RunEnd
from ..store.runs import Store
from .local import Attempt, LocalLauncher

ATTEMPTS = 2
"""A run whose process is killed is tried once more; then it waits for the next command."""

POLL_SECONDS = 0.25
"""Seconds between two checks of the processes."""


class RunListener(Protocol):
    """Receives the progress of runs."""

    def started(self, run: Run) -> None: ...
    def ended(self, run: Run, end: RunEnd, again: bool) -> None:
        """``again``: it will be started once more."""

    def tick(self) -> None:
        """Called about every ``POLL_SECONDS``, from the thread that runs the queue."""


@dataclass
class RunSummary:
    """How the runs of one command ended: how many by status; ``missing`` are those whose data had changed."""

    statuses: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False

    @property
    def executed(self) -> int:
        return self.statuses.total() - self.statuses["missing"]


def run_queue(
    runs: Sequence[Run],
    store: Store,
    launcher: LocalLauncher,
    listeners: Sequence[RunListener] = (),
    plugins: Sequence[Plugin] = (),
) -> RunSummary:
    """Train ``runs``; a failing one does not stop the others, Ctrl-C stops all.

    Errors: StorageError when nothing can be written any more; running processes are ended first.
    """
    queue, attempts, summary = deque(runs), Counter[str](), RunSummary()
    by_id = {run.id: run for run in runs}
    try:
        with _interruptible() as interrupt:
            while (queue or launcher.running) and not interrupt.is_set():
                while queue and launcher.free:
                    run = queue.popleft()
                    attempts[run.id] += 1
                    launcher.start(run.id, store.prepare(run, plugins))
                    for listener in listeners:
                        listener.started(run)
                for attempt in launcher.wait(POLL_SECONDS):
                    run = by_id[attempt.run_id]
                    end = _conclude(attempt, store, attempts[run.id])
                    again = end.status == "killed" and attempts[run.id] < ATTEMPTS
                    if again:
                        queue.append(run)
                    else:
                        summary.statuses[end.status] += 1
                    for listener in listeners:
                        listener.ended(run, end, again)
                for listener in listeners:
                    listener.tick()
            summary.interrupted = interrupt.is_set()
    finally:
        stopped = launcher.stop()
    for attempt in stopped:
        end = store.end(attempt.run_id)
        if end.status != "missing":  # it was done by then
            summary.statuses[end.status] += 1
    return summary


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


def _conclude(attempt: Attempt, store: Store, number: int) -> RunEnd:
    """How the run ended, by the files that it left; a process that left none was killed."""
    end = store.end(attempt.run_id)
    if end.status != "missing" or end.reason is not None:
        return end
    code = attempt.exit_code or 0
    names = {signal_.value: signal_.name for signal_ in signal.Signals}
    reason = f"killed by {names.get(-code, -code)}" if code < 0 else f"the process ended with code {code}"
    failure = {"schema": SCHEMA, "id": attempt.run_id, "kind": "killed", "reason": reason, "attempt": number}
    write_json(attempt.directory / "failure.json", failure)
    return RunEnd("killed", reason)
