"""Local processes: one per run, forked from a server that has imported everything and computed nothing.

Starting Python with torch and Lightning takes seconds, a fork from such a server milliseconds; and no state of one run
can reach the next.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ..processes import HUGE_PAGES, interrupt_blocked, main_hidden
from ..store.attempts import LOG, Ended, Order
from .death import explain, out_of_memory_kills
from .group import kill_group
from .worker import redact_log, work

METHOD = "forkserver" if os.name == "posix" else "spawn"
if METHOD == "forkserver":
    from multiprocessing import forkserver  # there is none on Windows


@dataclass
class Process:
    """The process of one run."""

    order: Order
    slot: int
    process: BaseProcess
    lifeline: Connection
    """The driver's end of a pipe that asks the run to stop; the process ends when it closes, however that came."""
    report: Connection
    """Through which the process says that it has begun, and how it ended."""
    memory_kills: int
    """How many processes the system had killed for lack of memory when this one began."""


class LocalLauncher:
    """Trains at most ``workers`` runs at once here, in turn on ``gpus``, named as in CUDA_VISIBLE_DEVICES."""

    def __init__(self, workers: int, gpus: Sequence[str] = ()):
        self.workers, self.gpus = workers, gpus
        self.processes: dict[str, Process] = {}
        self.not_begun: dict[str, tuple[Order, str]] = {}
        """Orders for which no process could be started, and why; the next ``wait`` says so."""
        self.context = multiprocessing.get_context(METHOD)

    @property
    def free(self) -> int:
        return self.workers - len(self.processes)

    @property
    def running(self) -> Mapping[str, Order]:
        not_begun = {run_id: order for run_id, (order, _) in self.not_begun.items()}
        return not_begun | {run_id: process.order for run_id, process in self.processes.items()}

    @staticmethod
    def warm_up() -> None:
        """Start the server, so that it imports while the caller does something else."""
        if METHOD == "forkserver":
            multiprocessing.set_forkserver_preload(["ablation.launch.preload"])
            with interrupt_blocked(), _environment():
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

    def start(self, order: Order) -> None:
        """Train a run in a process of its own."""
        self.warm_up()
        slot = min(set(range(self.workers)) - {process.slot for process in self.processes.values()})
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        lifeline, ours = self.context.Pipe(duplex=False)
        report, theirs = self.context.Pipe(duplex=False)
        absolute = Order(order.run_id, order.directory.absolute())
        process = self.context.Process(  # type: ignore[attr-defined]
            target=work, args=(absolute, gpu, lifeline, theirs), daemon=False
        )
        try:
            with main_hidden():
                process.start()
        except (OSError, EOFError) as error:  # the server has been killed; there will be another one
            self.not_begun[order.run_id] = order, f"no process could be started: {error or type(error).__name__}"
            ours.close()
            report.close()
        else:
            self.processes[order.run_id] = Process(order, slot, process, ours, report, out_of_memory_kills())
        lifeline.close()
        theirs.close()

    def wait(self, seconds: float) -> list[Ended]:
        if self.not_begun:
            ended = [Ended(run_id, "never_began", reason=why) for run_id, (_, why) in self.not_begun.items()]
            self.not_begun = {}
            return ended
        sentinels = {process.process.sentinel: process for process in self.processes.values()}
        return [self._conclude(sentinels[one]) for one in wait(list(sentinels), timeout=seconds)]  # type: ignore[index]

    def stop(self, patience: float) -> list[Ended]:
        ended: list[Ended] = []
        try:
            if patience:
                for process in self.processes.values():
                    with contextlib.suppress(OSError):  # it has just ended
                        process.lifeline.send_bytes(b"stop")
            end = time.monotonic() + patience
            while self.processes and (left := end - time.monotonic()) > 0:
                ended += self.wait(left)
        finally:
            for process in self.processes.values():
                if process.process.pid is not None:
                    kill_group(process.process.pid)
                process.process.kill()
            while self.processes:
                ended += self.wait(1.0)
        return ended

    def _conclude(self, process: Process) -> Ended:
        """How a process that has ended did so."""
        process.process.join()
        pid, exit_code = process.process.pid, process.process.exitcode
        where, ended = None, None
        with contextlib.suppress(EOFError, OSError):
            while process.report.poll():
                message = process.report.recv()
                where, ended = (message, ended) if isinstance(message, str) else (where, message)
        for closed in (process.process, process.lifeline, process.report):
            closed.close()
        del self.processes[process.order.run_id]
        if ended is not None:
            return ended
        if pid is not None:
            kill_group(pid)  # what it had started
        if where is None:
            return Ended(process.order.run_id, "never_began", reason=f"exit code {exit_code}")
        log = process.order.store / "attempts" / where / LOG
        death = explain(exit_code or 0, log, lack_of_memory=out_of_memory_kills() > process.memory_kills)
        with contextlib.suppress(FileNotFoundError), log.open("r+b") as stream:  # one may die before it has any
            redact_log(stream)
        return Ended(process.order.run_id, "died", reason=death.reason, where=where, cause=death.cause, at=death.at)


def _server_pid() -> int | None:
    return getattr(forkserver._forkserver, "_forkserver_pid", None) if METHOD == "forkserver" else None


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """That of the server: one thread, since a fork copies no others and runs choose theirs; huge pages, unless off."""
    names = {"OMP_NUM_THREADS": "1", HUGE_PAGES: os.environ.get(HUGE_PAGES, "1")}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def available_cores() -> int:
    """Cores this process may use: in a job of Slurm those of the job, to which it need not be bound."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of_job = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    return min(cores, int(of_job)) if of_job.isdigit() and int(of_job) else cores


def available_gpus() -> list[str]:
    """CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:n_gpus] if named else [str(index) for index in range(n_gpus)]


def has_mps() -> bool:
    """Whether this machine has a GPU of Apple."""
    import torch

    return bool(torch.backends.mps.is_available())


def in_groups(gpus: Sequence[str], size: int) -> list[str]:
    """Those of ``gpus`` that runs with so many ranks use together, as CUDA_VISIBLE_DEVICES names them."""
    return [",".join(gpus[first : first + size]) for first in range(0, len(gpus) - size + 1, size)]
