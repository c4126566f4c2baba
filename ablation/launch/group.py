"""No process outlives the command that started it: neither the server of runs, nor a run, nor what a run started."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent ends, also while it holds the interpreter's lock.

    Only Linux does; elsewhere a pipe to the driver that closes has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def lead_group() -> None:
    """Make this process, one run, the head of a group, which what it starts belongs to as well."""
    if os.name == "posix":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # which in the server means that the driver is gone
        os.setsid()
        die_with_parent()
        os.register_at_fork(after_in_child=die_with_parent)


def end_group() -> None:
    """End this process and all that it has started and left."""
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def kill_group(leader: int) -> None:
    """Kill a process that leads a group, and the rest of the group."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


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
        for file in Path("/proc/self/task").glob("*/children"):
            for child in file.read_text(encoding="ascii").split():
                kill_group(int(child))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)  # it may not lead a group yet
        os._exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, end)
    die_with_parent(signal.SIGUSR1)
    if os.getppid() != parent:  # it ended in between
        end()
