"""The process of one run."""

import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path


def work(directory: Path, gpu: str | None, lifeline: Connection) -> None:
    """Train the run in ``directory``; end at once when the driver at the other end of ``lifeline`` is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which decides for all
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    log = os.open(directory / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from ..training.run import run_from_directory

    run_from_directory(directory)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a regular exit would first tear torch down, which takes long


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
