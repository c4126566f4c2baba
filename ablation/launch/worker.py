"""The process of one run."""

import faulthandler
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from ..errors import StorageError
from ..secrets import redact
from ..store.attempts import LOG, Ended, Order, begin
from ..store.files import read_json
from .group import end_group, lead_group

LARGEST_LOG = 10 * 2**20
"""Bytes; of a longer one the first half is kept, and what came last."""
KEPT_END = 2**20
CUT = b"\n... more was printed here than a log holds ...\n"
CUTTING = threading.Lock()
LOOK_EVERY = 0.2
"""Seconds between two looks at the size of the log."""
RENEW_EVERY = 1.0
"""Seconds; starting a thread for every batch would cost more than many a batch."""


def work(order: Order, gpu: str | None, lifeline: Connection, report: Connection) -> None:
    """Train what is ordered and send how it ended; stop when the driver asks, end at once when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which decides for all
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    lead_group()
    threading.Thread(target=_follow, args=(lifeline, stop), daemon=True).start()
    try:
        attempt = begin(order)
        report.send(attempt.name)
        log = _log_to(attempt / LOG)
    except (StorageError, OSError) as error:
        report.send(Ended(order.run_id, "storage", reason=str(error)))
        end_group()
        return
    threading.Thread(target=_keep_bounded, args=(log,), daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from ..training.attempt import train_attempt

    watch = Watch(attempt, log)
    ended = train_attempt(attempt, stop.is_set, watch.renew, lambda: _close(log))
    faulthandler.cancel_dump_traceback_later()
    _close(log)  # of an attempt without an end, too
    report.send(ended)
    end_group()  # a regular exit would first tear torch down, which takes long


def _follow(lifeline: Connection, stop: threading.Event) -> None:
    try:
        while lifeline.recv_bytes():
            stop.set()
    except (EOFError, OSError):
        os._exit(1)


def _log_to(file: Path) -> IO[bytes]:
    """Have all that is printed, and the place of a crash, written to a file."""
    log = file.open("a+b", buffering=0)
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    faulthandler.enable(log)
    return log


def _close(log: IO[bytes]) -> None:
    """Take what must not stay out of the log, before anybody can take it for that of a run."""
    sys.stdout.flush()
    sys.stderr.flush()
    _bound(log)
    redact_log(log)


def _keep_bounded(log: IO[bytes]) -> None:
    """Keep the log from filling the disk."""
    while True:
        time.sleep(LOOK_EVERY)
        _bound(log)


def _bound(log: IO[bytes]) -> None:
    """Cut the middle out of a log that is too long."""
    with CUTTING:
        if (size := os.fstat(log.fileno()).st_size) > LARGEST_LOG:
            log.seek(size - KEPT_END)
            end = log.read()
            log.truncate(LARGEST_LOG // 2)
            log.write(CUT + end)


def redact_log(log: IO[bytes]) -> None:
    """Take the secrets of the environment out of what was printed: a log goes into archives, and to colleagues."""
    with CUTTING:
        log.seek(0)
        content = log.read()
        redacted = redact(content.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        if redacted != content:
            log.seek(0)
            log.truncate()
            log.write(redacted)


class Watch:
    """Has the process ended, with the line that it is at in its log, when it begins no batch for the declared time."""

    def __init__(self, attempt: Path, log: IO[bytes]):
        self.log = log
        self.seconds: float | None = read_json(attempt / "run.json")["config"]["training"].get("step_timeout")
        self.renewed = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin the time anew; to be called with every batch of training and evaluation."""
        now = time.monotonic()
        if self.seconds is not None and now - self.renewed > min(RENEW_EVERY, self.seconds / 4):
            # By a thread that needs no interpreter, since a component may hold its lock.
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=self.log)
            self.renewed = now
