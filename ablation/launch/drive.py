"""The driver: trains what is missing, one run after another, whatever happens to any of them."""

import contextlib
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..grid import Run
from ..plugins import Plugin
from ..store.files import write_json
from ..store.runs import Store
from ..store.states import SCHEMA, Ending
from .local import Attempt, LocalLauncher

ATTEMPTS = 2
"""A run whose process is killed is tried once more; then it waits for the next command."""

TICK = 0.25
"""Seconds between two looks at what runs."""


class Observer(Protocol):
    """Who looks on."""

    def started(self, run: Run) -> None: ...
    def ended(self, run: Run, ending: Ending, again: bool) -> None:
        """``again``: it will be started once more."""

    def tick(self) -> None: ...


@dataclass
class Outcome:
    """What became of the runs of one command, by state."""

    states: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False

    @property
    def executed(self) -> int:
        return self.states.total()


def drive(
    runs: Sequence[Run],
    store: Store,
    launcher: LocalLauncher,
    observers: Sequence[Observer] = (),
    plugins: Sequence[Plugin] = (),
) -> Outcome:
    """Train ``runs``; a failing one does not stop the others, Ctrl-C stops all.

    Errors: StorageError when nothing can be written any more; what runs is ended first.
    """
    queue, attempts, outcome = deque(runs), Counter[str](), Outcome()
    by_id = {run.id: run for run in runs}
    try:
        with _interruptible() as interrupt:
            while (queue or launcher.running) and not interrupt.is_set():
                while queue and launcher.free:
                    run = queue.popleft()
                    attempts[run.id] += 1
                    launcher.start(run.id, store.prepare(run, plugins))
                    for observer in observers:
                        observer.started(run)
                for attempt in launcher.wait(TICK):
                    run = by_id[attempt.run_id]
                    ending = _conclude(attempt, store, attempts[run.id])
                    again = ending.state == "killed" and attempts[run.id] < ATTEMPTS
                    if again:
                        queue.append(run)
                    else:
                        outcome.states[ending.state] += 1
                    for observer in observers:
                        observer.ended(run, ending, again)
                for observer in observers:
                    observer.tick()
            outcome.interrupted = interrupt.is_set()
    finally:
        stopped = launcher.stop()
    for attempt in stopped:
        ending = store.ending(attempt.run_id)
        if ending.state != "missing":  # it was done by then
            outcome.states[ending.state] += 1
    return outcome


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that they never fall between two acts that belong together.

    The second of them is as hard as ever.
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


def _conclude(attempt: Attempt, store: Store, number: int) -> Ending:
    """How the run ended by what it left behind; a process that left nothing was killed."""
    ending = store.ending(attempt.run_id)
    if ending.state != "missing":
        return ending
    code = attempt.exit_code or 0
    names = {signal_.value: signal_.name for signal_ in signal.Signals}
    reason = f"killed by {names.get(-code, -code)}" if code < 0 else f"the process ended with code {code}"
    failure = {"schema": SCHEMA, "id": attempt.run_id, "kind": "killed", "reason": reason, "attempt": number}
    write_json(attempt.directory / "failure.json", failure)
    return Ending("killed", reason)
