"""Local processes: one per run, forked from a server that has imported everything and computed nothing.

Starting Python with torch and Lightning takes seconds, a fork from such a server milliseconds; and no run can leave
anything behind for the next.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

METHOD = "forkserver" if os.name == "posix" else "spawn"
PRELOAD = ["__main__", "ablation.training.run", "ablation.launch.worker"]


@dataclass
class Attempt:
    """One run that is being trained."""

    run_id: str
    directory: Path
    process: BaseProcess
    lifeline: Connection
    slot: int
    started: float = field(default_factory=time.monotonic)


class LocalLauncher:
    """At most ``workers`` runs at once on this machine."""

    def __init__(self, workers: int, plugins: tuple[str, ...] = (), n_gpus: int = 0):
        self.workers, self.plugins, self.n_gpus = workers, plugins, n_gpus
        self.running: dict[str, Attempt] = {}
        self.context = multiprocessing.get_context(METHOD)

    @property
    def free(self) -> int:
        return self.workers - len(self.running)

    @staticmethod
    def warm_up() -> None:
        """Start the server, so that it imports while the caller does something else."""
        if METHOD == "forkserver":
            from multiprocessing import forkserver

            multiprocessing.set_forkserver_preload(PRELOAD)
            forkserver.ensure_running()

    def start(self, run_id: str, directory: Path) -> None:
        """Train the run in ``directory`` in a process of its own."""
        self.warm_up()
        slot = min(set(range(self.workers)) - {attempt.slot for attempt in self.running.values()})
        device = str(slot % self.n_gpus) if self.n_gpus else None
        ours, theirs = self.context.Pipe()
        from .worker import work

        process = self.context.Process(target=work, args=(directory, self.plugins, device, theirs), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.running[run_id] = Attempt(run_id, directory, process, ours, slot)

    def wait(self, seconds: float) -> list[Attempt]:
        """Those that ended, as soon as one does, or none after ``seconds``."""
        sentinels = {attempt.process.sentinel: attempt for attempt in self.running.values()}
        ended = [sentinels[sentinel] for sentinel in wait(list(sentinels), timeout=seconds)]  # type: ignore[index]
        for attempt in ended:
            attempt.process.join()
            attempt.lifeline.close()
            del self.running[attempt.run_id]
        return ended

    def stop(self) -> None:
        """End all that runs, at once."""
        for attempt in self.running.values():
            attempt.process.kill()
        while self.running:
            self.wait(1.0)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
