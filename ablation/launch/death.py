"""What a process that ended without a word died of, by its exit code and its log."""

import contextlib
import re
import signal
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CRASHES = {
    signal_.value: f"{what} ({signal_.name})"
    for signal_, what in (
        (signal.SIGSEGV, "segmentation fault"),
        (signal.SIGABRT, "aborted"),
        (signal.SIGFPE, "arithmetic error"),
        (signal.SIGILL, "illegal instruction"),
        *([(signal.SIGBUS, "bus error")] if hasattr(signal, "SIGBUS") else []),
    )
}
TAIL = 64 * 2**10
"""Bytes at the end of a log that are looked at."""
PACKAGE = str(Path(__file__).parents[1])
LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
PLACE = re.compile(r'File "(.+)", line (\d+)')

Cause = Literal["crash", "hang", "exit", "memory", "killed"]


@dataclass(frozen=True)
class Death:
    """Why a process ended, and where in the code, as far as its log says."""

    cause: Cause
    """``crash``: by its own fault; ``hang``: it began no batch; ``exit``: it ended itself; ``memory``: killed by the
    system for lack of it; ``killed``: by a signal from outside."""
    reason: str
    at: str | None = None


def explain(exit_code: int, log: Path, lack_of_memory: bool) -> Death:
    """The death of a process; ``lack_of_memory``: whether the system has killed any for that while it ran."""
    if -exit_code in CRASHES:
        at = place_in(log, "Fatal Python error")
        return Death("crash", f"{CRASHES[-exit_code]}{_in(at)}", at)
    if exit_code < 0:
        names = {signal_.value: signal_.name for signal_ in signal.Signals}
        if exit_code == -signal.SIGKILL and lack_of_memory:
            return Death("memory", "killed by the system for lack of memory")
        return Death("killed", f"killed by {names.get(-exit_code, -exit_code)}")
    text = tail(log)
    if (found := re.search(r"^Timeout \(([\d:.]+)\)!$", text, re.MULTILINE)) is not None:
        at = place_in(log, found[0])
        return Death("hang", f"no batch for {found[1]} (training.step_timeout){_in(at)}", at)
    return Death("exit", f"the process ended itself with code {exit_code}")


def place_in(log: Path, heading: str) -> str | None:
    """``file:line`` of where a process was in what faulthandler has written after ``heading``; None without it.

    That is in the thread that crashed, or in the main one, which comes last; in a plugin or this package, else at all.
    """
    _, found, after = tail(log).rpartition(heading)
    crashed, main = after.partition("Current thread 0x")[2], after.rpartition("Thread 0x")[2]
    places = PLACE.findall((crashed or main).partition("Thread 0x")[0]) if found else []
    own = [place for place in places if place[0].startswith(PACKAGE) or not place[0].startswith(LIBRARIES)]
    return ":".join((own or places)[0]) if places else None


def tail(log: Path, size: int = TAIL) -> str:
    """The end of a log; empty where there is none."""
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - size))
        return stream.read().decode(errors="replace")
    return ""


def out_of_memory_kills() -> int:
    """How many processes the system has killed for lack of memory, here or in this container; 0 where it is unknown."""
    counted = 0
    for file in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        with contextlib.suppress(OSError):
            counted += sum(
                int(n)
                for name, n in map(str.split, file.read_text(encoding="ascii").splitlines())
                if name == "oom_kill"
            )
    return counted


def _in(at: str | None) -> str:
    return f" in {at}" if at else ""
