"""No process outlives the command that started it: neither the server of runs, nor a run, nor what a run started."""

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
import warnings
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PATIENCE = 2.0
"""Seconds in which processes that were killed are gone."""


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent ends, also while it holds the interpreter's lock.

    Only Linux does; elsewhere a pipe to the driver that closes has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Have the system give this process, as its children, those of its descendants whose parents end.

    So that they are found, also where they have left the group. Only Linux does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def lead_group() -> None:
    """Make this process, one run, the head of a group, which what it starts belongs to as well."""
    if os.name == "posix":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # which in the server means that the driver is gone
        os.setsid()
        die_with_parent()
        adopt_orphans()
        os.register_at_fork(after_in_child=die_with_parent)


def end_group() -> None:
    """End this process and all that it has started and left."""
    kill_children()
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def kill_group(leader: int) -> None:
    """Kill a process that leads a group, and the rest of the group."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def kill_children() -> None:
    """Kill what this process has started and adopted, with their groups, until nothing is left; only on Linux."""
    end = time.monotonic() + PATIENCE
    while (children := _children()) and time.monotonic() < end:
        for child in children:
            kill_group(child)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)  # it may not lead a group
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.001)


def _children() -> list[int]:
    """The processes whose parent this one is."""
    children: list[int] = []
    for file in Path("/proc/self/task").glob("*/children") if sys.platform == "linux" else ():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # of a thread that has just ended
            children += map(int, file.read_text(encoding="ascii").split())
    return children


def kill_children_with_parent() -> None:
    """Called in the server: when the driver is gone, kill all runs with what they have started, and end.

    What is sent to the driver's group, as by a terminal, is for the driver, which decides for all. So is a request to
    end that a whole job gets at once, after which the server still has to say how runs ended.
    """
    if os.name == "posix":
        os.setsid()
    if sys.platform != "linux":
        return
    parent = os.getppid()

    def end(*_: object) -> None:
        kill_children()
        os._exit(0)

    adopt_orphans()
    # Python's server says so of every adopted process that ends, on the user's terminal.
    warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
    atexit.register(end)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, end)
    die_with_parent(signal.SIGUSR1)
    if os.getppid() != parent:  # it ended in between
        end()
