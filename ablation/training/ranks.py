"""Ranks: the processes of one run that trains on several devices, or on several cores, of one machine.

Each trains on its share of every batch, and their gradients are averaged (Li et al. 2020, arXiv:2006.15704). The first
rank is the process of the run: it writes, and it starts the others, which write into a directory that nobody reads.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds in which the others end by themselves once the first one has, or it once one of them has."""
NOTICED = 1.0
"""Seconds in which the end of another rank is noticed."""


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
    over = threading.Event()
    watch = threading.Thread(target=_end_with, args=(others, over), daemon=True)
    watch.start()
    try:
        yield
        over.set()
        for process in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
    except Exception:
        time.sleep(NOTICED)  # it may be the end of another rank that is the cause
        raise
    finally:
        over.set()
        watch.join()
        for process in others:
            process.kill()
            process.wait()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _end_with(others: list[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """End this process in the way in which another rank ended, which it would wait for, or take for its own error.

    By the same signal at once; where one ended by itself, it has said why, and so does this one if it notices in time.
    """
    while not over.wait(NOTICED / 4):
        for rank, process in enumerate(others, 1):
            if (code := process.poll()) is None or code == 0:
                continue
            if code > 0 and over.wait(PATIENCE):
                return
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            print(f"rank {rank} {how}, and so is the run", file=sys.stderr, flush=True)  # noqa: T201  into its log
            os.kill(os.getpid(), -code) if code < 0 else os._exit(code)


def this_rank() -> int:
    """Which rank this process is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
