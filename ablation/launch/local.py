"""Local processes: one per run, forked from a server that has imported everything and computed nothing.

Starting Python with torch and Lightning takes seconds, a fork from such a server milliseconds; and no state of one run
can reach the next.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from ..processes import interrupt_blocked, main_hidden
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
    """The driver's end of a pipe; the process ends when it closes, however the driver ended."""
    exit_code: int | None = None
    """Of the process, once it ended; the negative of the signal that killed it."""


class LocalLauncher:
    """Trains at most ``workers`` runs at once here, in turn on ``gpus``, named as in CUDA_VISIBLE_DEVICES."""

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
            with interrupt_blocked(), _one_thread():
                forkserver.ensure_running()

    @staticmethod
    @contextlib.contextmanager
    def stop_server_on_error() -> Iterator[None]:
        """End a server that was started inside if an error is raised: it would hold the terminal while it imports."""
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
        lifeline, ours = self.context.Pipe(duplex=False)
        arguments = (directory.absolute(), gpu, lifeline)
        process = self.context.Process(target=work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        with main_hidden():
            process.start()
        lifeline.close()
        self.running[run_id] = Attempt(run_id, directory, slot, process, ours)

    def wait(self, seconds: float) -> list[Attempt]:
        """The attempts that ended, as soon as one does; none after ``seconds``."""
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
        """Kill all attempts and return them."""
        stopped = list(self.running.values())
        for attempt in stopped:
            attempt.process.kill()
        while self.running:
            self.wait(1.0)
        return stopped


def _server_pid() -> int | None:
    return getattr(forkserver._forkserver, "_forkserver_pid", None) if METHOD == "forkserver" else None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep libraries from starting threads at import, which a fork does not copy; runs choose theirs afterwards."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gpus() -> list[str]:
    """CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:n_gpus] if named else [str(index) for index in range(n_gpus)]
