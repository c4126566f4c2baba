"""What a worker of Ray does: it trains one run after the other, each in a process that its fork server forks."""

import contextlib
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..store.attempts import Order
from .engine import NO_GPU
from .local import LocalLauncher, in_groups

PATIENCE = 10.0
"""Seconds in which a run writes a checkpoint after it was cancelled."""


def train(run_id: str, directory: str, ranks: int) -> dict[str, Any]:
    """Train what is ordered, and return how it ended, as the fields of ``Ended``.

    The fork server stays with the worker, so that imports are paid once for many runs; it ends with it, and the run
    with the server, where Ray ends the worker.
    """
    import ray

    gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
    launcher = LocalLauncher(1, in_groups(gpus, ranks) if gpus else NO_GPU)
    try:
        launcher.start(Order(run_id, Path(directory)))
        ended = launcher.wait(1.0)
        while not ended:
            ended = launcher.wait(1.0)
    except KeyboardInterrupt:  # how Ray cancels
        with contextlib.suppress(KeyboardInterrupt):
            ended = launcher.stop(PATIENCE)
    return {**asdict(ended[0]), "node": platform.node()}
