"""One command at a time trains into a runs directory."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import Locked, StorageError
from .files import unwritable

NAME = ".lock"
LOCK_OFFSET = 1 << 30
"""Windows locks a byte, which cannot be read then: this one lies behind all that is written."""


def refuse_if_held(root: Path) -> None:
    """Raise the errors of ``hold`` early and without creating anything, since planning takes seconds."""
    try:
        is_file, is_there = root.is_file(), (root / NAME).exists()
    except OSError as error:
        raise unwritable(root, error) from None
    if is_file:
        raise StorageError(f"{root}: is a file; a directory is needed")
    if is_there:
        with hold(root):
            pass


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Hold the lock of a runs directory; the system releases it when the process ends, however it ends.

    Errors: Locked, naming who holds it; StorageError.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(root, error) from None
    with stream:
        try:
            held = not _seize(stream)
            if not held:
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
                stream.flush()
        except OSError as error:
            raise unwritable(root / NAME, error) from None
        if held:
            stream.seek(0)
            raise Locked(f"{root} is in use by {stream.read(200).strip() or 'another command'}; wait for it to end")
        yield


def _seize(stream: IO[str]) -> bool:
    """Whether the lock was free, without waiting; the system releases it with the open file."""
    try:
        if os.name == "nt":
            import msvcrt

            stream.seek(LOCK_OFFSET)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
