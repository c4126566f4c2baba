"""A task of a Slurm array: trains its part of the runs on the node, and writes how each ended.

It is started as ``python -m ablation.launch.slurm_task FILE``, again where Slurm requeues it: what has come to an end
is left alone, and what was interrupted goes on from its checkpoint.
"""

import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from ..store.attempts import Ended, How, Order
from ..store.listing import committed, is_listed
from ..store.results import RunStatus

PATIENCE = 20.0
"""Seconds in which runs write checkpoints after SIGTERM."""
HEADING = "task"
"""With what a line of its own begins in its log."""
STOP_WITHIN = 5.0
"""Seconds in which the task is asked to stop as well where one of its runs was."""
WAIT_FOR_ORDER = 90.0
"""Seconds: a command that takes over writes orders anew, and a network file system may show them a minute late."""


def outcome_file(folder: Path, array: str, index: int) -> Path:
    """Where the task says how its runs ended, a line each."""
    return folder / f"{array}.{index}.jsonl"


class Outcomes:
    """Reads what tasks have written, each line once."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def new(self, file: Path) -> Iterator[Ended]:
        """The endings since the last call. A line that is still being written is read the next time.

        What is no ending, as where a node lost its power in the middle of a line, is skipped: the store is the truth.
        """
        try:
            with file.open("rb") as stream:
                stream.seek(self._read.get(file, 0))
                text = stream.read()
        except OSError:  # not there yet; or ESTALE of a network file system, which passes
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read[file] = self._read.get(file, 0) + len(whole)
        yield from filter(None, map(_ended, whole.splitlines()))

    def has_read(self, file: Path) -> bool:
        """Whether the task has said anything so far."""
        return bool(self._read.get(file))


def _ended(line: bytes) -> Ended | None:
    """What a line says; None where it is damaged."""
    try:
        ended = Ended(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    is_whole = isinstance(ended.run_id, str) and isinstance(ended.where, str)
    return ended if is_whole and ended.how in get_args(How) and ended.status in (None, *get_args(RunStatus)) else None


def main(file: Path) -> int:
    """Train the part of the task; its exit code says whether it was asked to stop."""
    from .engine import NO_GPU
    from .local import LocalLauncher, in_groups

    content, index = json.loads(file.read_text(encoding="utf-8")), int(os.environ["SLURM_ARRAY_TASK_ID"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())  # preempted, cancelled, or almost out of time
    outcomes = outcome_file(file.parent, file.stem, index)
    part = content["runs"][index * content["runs_per_job"] :][: content["runs_per_job"]]
    store, written = Path(content["store"]), {ended.run_id for ended in Outcomes().new(outcomes)}
    waiting = [run_id for run_id in part if run_id not in written]
    gpus = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    asked = content.get("gpus", True)  # where they were, a site may name them in other variables, which stay
    launcher = LocalLauncher(content["at_once"], in_groups(gpus, content["ranks"]) if asked else NO_GPU)
    LocalLauncher.warm_up()
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    print(f"{HEADING} {index}, restart {restarts}: {len(waiting)} of {len(part)} runs", flush=True)  # noqa: T201  its log
    while (waiting or launcher.running) and not stop.is_set():
        while waiting and launcher.free:
            run_id = waiting.pop(0)
            if is_listed(store, run_id):  # by a task that died before it could say so, or by another one since
                _write(outcomes, committed(store, run_id) or Ended(run_id, "stopped"))
                continue
            order = Order(run_id, store / "orders" / run_id)
            _wait_for(order)
            launcher.start(order)
        for ended in launcher.wait(0.25):
            if ended.how in ("stopped", "died") and stop.wait(STOP_WITHIN):  # Slurm ends the whole job, in any order
                continue
            _write(outcomes, ended)
    for ended in launcher.stop(PATIENCE):
        if ended.how in ("committed", "conflict"):  # the others go on where the task is requeued
            _write(outcomes, ended)
    return int(stop.is_set())


def _wait_for(order: Order) -> None:
    end = time.monotonic() + WAIT_FOR_ORDER
    while not (order.directory / "run.json").exists() and time.monotonic() < end:
        time.sleep(0.5)


def _write(file: Path, ended: Ended) -> None:
    fields: dict[str, Any] = {**asdict(ended), "node": platform.node()}
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(descriptor, (json.dumps(fields) + "\n").encode())  # in one call, so that lines do not mix
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
