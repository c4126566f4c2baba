"""Where Ctrl-C has to wait; processes that it does not end, and that do not run the caller's program again.

And how much memory there is for them.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from math import inf
from multiprocessing import resource_tracker
from types import FrameType, ModuleType

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""The variable with which torch asks Linux for pages of 2 MB for larger tensors.

A training step whose logits take 67 MB takes two thirds of the time: without, their pages of 4 KB come anew each time.
"""


@contextlib.contextmanager
def interrupt_postponed() -> Iterator[None]:
    """Let Ctrl-C wait for the end of what is done inside.

    Where it meets pydantic's compiled code, it comes out as another error, or is lost.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received and callable(before):
            before(*received[0])


@contextlib.contextmanager
def interrupt_blocked() -> Iterator[None]:
    """Keep Ctrl-C from a process that is started inside, for as long as it lives.

    It would end it with a traceback while it imports. Windows has no masks of signals.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # else it would be started inside and unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def main_hidden() -> Iterator[None]:
    """Keep a process that is started inside from running the program that started it, of which it needs nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def machine_memory() -> float:
    """The bytes of memory of this machine, infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # as on Windows
        return inf
