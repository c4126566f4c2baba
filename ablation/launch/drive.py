"""The driver: trains what is missing, one run after another, whatever happens to any of them."""

import signal
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..grid import Run
from ..store.files import write_json
from ..store.runs import Store
from .local import Attempt, LocalLauncher

KILLED_ATTEMPTS = 2
"""A run whose process is killed is tried once more at once; then it waits for the next command."""


class Observer(Protocol):
    """Who looks on."""

    def started(self, run: Run) -> None: ...
    def ended(self, run: Run, state: str, reason: str | None) -> None: ...
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
    runs: Sequence[Run], store: Store, launcher: LocalLauncher, observers: Sequence[Observer], tick: float = 0.25
) -> Outcome:
    """Train ``runs``; a failing one does not stop the others, Ctrl-C stops all.

    Errors: StorageError when nothing can be written any more; what runs is ended first.
    """
    queue, attempts, outcome = deque(runs), Counter[str](), Outcome()
    by_id = {run.id: run for run in runs}
    try:
        while queue or launcher.running:
            while queue and launcher.free:
                run = queue.popleft()
                attempts[run.id] += 1
                launcher.start(run.id, store.prepare(run, launcher.plugins))
                for observer in observers:
                    observer.started(run)
            for attempt in launcher.wait(tick):
                run = by_id[attempt.run_id]
                state, reason = _conclude(attempt, store, attempts[run.id])
                if state == "killed" and attempts[run.id] < KILLED_ATTEMPTS:
                    queue.append(run)
                    continue
                outcome.states[state] += 1
                for observer in observers:
                    observer.ended(run, state, reason)
            for observer in observers:
                observer.tick()
    except KeyboardInterrupt:
        outcome.interrupted = True
    finally:
        launcher.stop()
    return outcome


def _conclude(attempt: Attempt, store: Store, number: int) -> tuple[str, str | None]:
    """What the run left behind; a process that left nothing was killed."""
    state = store.state(attempt.run_id)
    if state == "missing":
        code = attempt.process.exitcode or 0
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"the process ended with code {code}"
        failure = {"schema": 1, "id": attempt.run_id, "kind": "killed", "reason": reason, "attempt": number}
        write_json(attempt.directory / "failure.json", failure)
        return "killed", reason
    return state, None
