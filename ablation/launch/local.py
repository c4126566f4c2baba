"""Local processes: one per run, forked from a server that has imported everything and computed nothing.

Starting Python with torch and Lightning takes seconds, a fork from such a server milliseconds; and no run can leave
anything behind for the next.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from .worker import work

METHOD = "forkserver" if os.name == "posix" else "spawn"
if METHOD == "forkserver":
    from multiprocessing import forkserver  # there is none on Windows


@dataclass
class Attempt:
    """One run that is being trained."""

    run_id: str
    directory: Path
    slot: int
    process: BaseProcess
    lifeline: Connection
    """Our end of a pipe; the process ends when it closes, however this program ended."""
    exit_code: int | None = None
    """Of the process, once it ended; minus the signal that killed it."""


class LocalLauncher:
    """At most ``workers`` runs at once on this machine, in turn on ``gpus``, as CUDA_VISIBLE_DEVICES names them."""

    def __init__(self, workers: int, gpus: Sequence[str] = ()):
        self.workers, self.gpus = workers, gpus
        self.running: dict[str, Attempt] = {}
        self.context = multiprocessing.get_context(METHOD)

    @property
    def free(self) -> int:
        return self.workers - len(self.running)

    @staticmethod
    def warm_up() -> None:
        """Start the server, so that it imports while the caller does something else."""
        if METHOD == "forkserver":
            multiprocessing.set_forkserver_preload(["ablation.launch.preload"])
            resource_tracker.ensure_running()  # would else be started below, and unblock the signal
            with interrupt_blocked(), _one_thread():
                forkserver.ensure_running()

    @staticmethod
    @contextlib.contextmanager
    def cooling_on_error() -> Iterator[None]:
        """End a server that was started in here if an error leaves: it would hold the terminal while it imports."""
        before = _server_pid()
        try:
            yield
        except BaseException:
            started = _server_pid()
            if started is not None and started != before:
                os.kill(started, signal.SIGKILL)
            raise

    def start(self, run_id: str, directory: Path) -> None:
        """Train the run in ``directory`` in a process of its own."""
        self.warm_up()
        slot = min(set(range(self.workers)) - {attempt.slot for attempt in self.running.values()})
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        theirs, ours = self.context.Pipe(duplex=False)
        arguments = (directory.absolute(), gpu, theirs)
        process = self.context.Process(target=work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        with main_hidden():
            process.start()
        theirs.close()
        self.running[run_id] = Attempt(run_id, directory, slot, process, ours)

    def wait(self, seconds: float) -> list[Attempt]:
        """Those that ended, as soon as one does, or none after ``seconds``."""
        sentinels = {attempt.process.sentinel: attempt for attempt in self.running.values()}
        ended = [sentinels[sentinel] for sentinel in wait(list(sentinels), timeout=seconds)]  # type: ignore[index]
        for attempt in ended:
            attempt.process.join()
            attempt.exit_code = attempt.process.exitcode
            attempt.process.close()
            attempt.lifeline.close()
            del self.running[attempt.run_id]
        return ended

    def stop(self) -> list[Attempt]:
        """End all that runs, at once; returns what ran."""
        stopped = list(self.running.values())
        for attempt in stopped:
            attempt.process.kill()
        while self.running:
            self.wait(1.0)
        return stopped


def _server_pid() -> int | None:
    return getattr(forkserver._forkserver, "_forkserver_pid", None) if METHOD == "forkserver" else None


@contextlib.contextmanager
def interrupt_blocked() -> Iterator[None]:
    """Keep Ctrl-C from a new process for as long as it lives: it would end it, with a traceback, while it imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep libraries from starting threads at import, which no fork carries along; runs choose theirs afterwards."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


@contextlib.contextmanager
def main_hidden() -> Iterator[None]:
    """Spare a new process running the program that started it once more, whatever that is: it needs nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gpus() -> list[str]:
    """CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:n_gpus] if named else [str(index) for index in range(n_gpus)]
