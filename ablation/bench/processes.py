"""The processes of ``ablate bench``: one after another, each fresh, since two at once would slow each other down."""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InputError
from ..processes import HUGE_PAGES, interrupt_blocked, main_hidden

if TYPE_CHECKING:
    from ..grid.plan import Plan


class ProcessError(RuntimeError):
    """One of the timing processes ended before it had sent its results."""


class BenchListener(Protocol):
    """Receives the progress of a bench."""

    def started(self, plan: "Plan", n_processes: int, n_rounds: int) -> None: ...
    def estimated(self, seconds: float) -> None:
        """How long the whole will take, known after the first round."""

    def timed(self, process: int, n_rounds: int) -> None:
        """The process of that number, from 0, has timed so many rounds."""


def measure_plan(
    plan: "Plan",
    kinds: Sequence[str],
    lengths: Sequence[int],
    rounds: int,
    processes: int,
    seed: int,
    listener: BenchListener | None = None,
) -> list[dict[str, Any]]:
    """The results of each process, as ``bench.measure.summarize`` takes them. Errors: ProcessError, InputError."""
    from ..config.layered import dump
    from .measure import interleaving_seed

    task = {
        "plugins": [plugin.file for plugin in plan.plugins],
        "experiments": {cell.label: dump(cell.runs[0].config) for cell in plan.cells},
        "kinds": list(kinds),
        "lengths": list(lengths),
        "n_rounds": rounds,
        "order": interleaving_seed(seed, (cell.runs[0].id for cell in plan.cells)),
    }
    if listener is not None:
        listener.started(plan, processes, rounds)
    return [_in_fresh_process({**task, "process": process}, processes, listener) for process in range(processes)]


def _in_fresh_process(task: dict[str, Any], processes: int, listener: BenchListener | None) -> dict[str, Any]:
    """What ``_work`` sends for ``task``. The process is gone afterwards, whatever happens here."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs), daemon=True)
    started, number = time.monotonic(), task["process"]
    with interrupt_blocked(), main_hidden():
        process.start()
    theirs.close()
    try:
        while True:
            kind, value = ours.recv()
            if kind == "done":
                return value
            if kind == "wrong":
                raise InputError(value)
            if listener is not None and kind == "ready" and not number:
                listener.estimated(processes * (time.monotonic() - started + value))
            if listener is not None and kind == "round":
                listener.timed(number, value)
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise ProcessError(f"timing process {number + 1} of {processes} ended early ({how})") from None
    finally:
        process.kill()
        process.join()
        ours.close()


def _work(task: dict[str, Any], connection: Connection) -> None:
    """In a process of its own: load the plugins, measure, send the results. Ends when the other end is closed."""
    # Else torch.compile starts a pool of processes, which takes time from what is measured, and complains at the end.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    os.environ.setdefault(HUGE_PAGES, "1")  # as where runs are trained
    os.dup2(2, 1)  # what components print is no result of the command
    from ..config.layered import load
    from ..plugins import load_plugins
    from .measure import measure

    def send(kind: str, value: object) -> None:
        try:
            connection.send((kind, value))
        except BrokenPipeError:
            sys.exit(1)

    try:
        load_plugins(Path(file) for file in task["plugins"])
    except InputError as error:
        send("wrong", str(error))
        return
    experiments = {label: load(config) for label, config in task["experiments"].items()}
    kinds, lengths, n_rounds = task["kinds"], task["lengths"], task["n_rounds"]
    send("done", measure(experiments, kinds, lengths, n_rounds, task["process"], send, task["order"]))
