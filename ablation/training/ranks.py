"""Ranks: the processes of one run that trains on several devices, or on several cores, of one machine.

Each trains on its share of every batch, and their gradients are averaged (Li et al. 2020, arXiv:2006.15704). The first
rank is the process of the run: it writes, and it starts the others, which write into a directory that nobody reads.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds in which the others end by themselves once the first one has."""


@contextlib.contextmanager
def other_ranks(attempt: Path, n: int) -> Iterator[None]:
    """Start the other ``n - 1`` ranks of an attempt, and end them with this one."""
    if n == 1:
        yield
        return
    # Lightning starts no processes of its own where it finds these.
    shared = {"MASTER_ADDR": HOST, "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(n), "NODE_RANK": "0"}
    before = {name: os.environ.get(name) for name in (*shared, "LOCAL_RANK")}
    os.environ.update({**shared, "LOCAL_RANK": "0"})
    command = [sys.executable, "-m", "ablation.training.rank", str(attempt)]
    others = [subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}) for rank in range(1, n)]
    try:
        yield
        for process in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
    finally:
        for process in others:
            process.kill()
            process.wait()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def this_rank() -> int:
    """Which rank this process is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
