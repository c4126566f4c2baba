"""Which process wrote a file, and whether it still lives: as far as that can be known on this machine."""

import contextlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """What a file says of the process that wrote it."""
    return {"host": platform.node(), "boot": _boot(), "process": os.getpid(), "begun": _begun(os.getpid())}


def is_here(writer: Mapping[str, Any]) -> bool:
    """Whether it was a process of this machine since it was started last."""
    return writer.get("host") == platform.node() and writer.get("boot") == _boot()


def is_alive_here(writer: Mapping[str, Any]) -> bool:
    """Whether it is a process of this machine that lives; a later one with the same number has begun later."""
    process = writer.get("process")
    if not is_here(writer) or not isinstance(process, int) or process <= 0:
        return False
    return writer.get("begun") is not None and _begun(process) == writer["begun"]


def may_be_alive(writer: Mapping[str, Any]) -> bool:
    """Whether it is another process that lives here, or one of another machine, of which nothing can be known."""
    if is_here(writer):
        return writer.get("process") != os.getpid() and is_alive_here(writer)
    return "host" in writer


def _boot() -> str | None:
    """What tells one start of this machine from another; None where the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None


def _begun(process: int) -> str | None:
    """When a process began, in the system's ticks; None where it is gone, or the system does not say."""
    with contextlib.suppress(OSError, IndexError):
        state, *fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if state in "ZX" else fields[18]  # dead, though not yet waited for
    return None
