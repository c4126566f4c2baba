"""One command at a time trains into a runs directory.

Two of them would never harm each other's runs (see ``attempts``), but do the same work twice. A lock of the system
says who is there, as it goes when its process does; beside it a file with a heartbeat, since between two machines that
share a directory locks may not hold.
"""

import contextlib
import errno
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import Locked, StorageError
from .files import read_json, unwritable, write_json
from .process import is_alive_here, is_here, this_process

NAME, HOLDER = ".lock", ".holder.json"
LOCK_OFFSET = 1 << 30
"""Windows locks a byte, which cannot be read then: this one lies behind all that is written."""
HEARTBEAT = 10.0
"""Seconds between two heartbeats of who holds the directory."""
PATIENCE = 3.5 * HEARTBEAT
"""Seconds without one, on the clock of whoever watches, after which a holder on another machine counts as dead."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of file systems without locks, such as Lustre that is mounted without ``flock``."""
HALF_WRITTEN = 2.0
"""Seconds after which a file that names no holder is what a killed command left of it."""


def refuse_if_held(root: Path) -> None:
    """Raise the errors of ``hold`` early and without creating anything, since planning takes seconds."""
    try:
        is_file, is_there = root.is_file(), (root / NAME).exists()
    except OSError as error:
        raise unwritable(root, error) from None
    if is_file:
        raise StorageError(f"{root}: is a file; a directory is needed")
    if is_there:
        with _locked(root):
            holder = read_holder(root)
            if holder is not None and is_alive_here(holder):
                raise _locked_by(root, holder)


def is_held(root: Path) -> bool:
    """Whether a command seems to train into a runs directory now; changes nothing."""
    holder = read_holder(root)
    if holder is None:
        return False
    if is_here(holder):
        return is_alive_here(holder)
    with contextlib.suppress(OSError):
        return time.time() - (root / HOLDER).stat().st_mtime < PATIENCE
    return False


@contextlib.contextmanager
def hold(root: Path) -> Iterator[None]:
    """Hold the lock of a runs directory; the system releases it when the process ends, however it ends.

    Errors: Locked, naming who holds it; StorageError.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(root, error) from None
    with _locked(root):
        us = {**this_process(), "nonce": uuid.uuid4().hex, "since": time.strftime("%Y-%m-%d %H:%M:%S"), "beat": 0}
        _take_over(root, us)
        stop = threading.Event()
        beating = threading.Thread(target=_beat, args=(root, us, stop), name="heartbeat", daemon=True)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            if _is_ours(root, us):
                with contextlib.suppress(OSError):
                    (root / HOLDER).unlink()


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of the system."""
    try:
        stream = (root / NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(root, error) from None
    with stream:
        try:
            free = _seize(stream)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise unwritable(root / NAME, error) from None
            free = True  # the file beside it says who is there
        if not free:
            raise _locked_by(root, read_holder(root))
        yield


def _take_over(root: Path, us: Mapping[str, Any]) -> None:
    """Become the holder, once the one before has shown no sign of life. Errors: Locked, StorageError."""
    file = root / HOLDER
    while True:
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            before = _written_holder(root)
            if before is not None and (is_alive_here(before) if is_here(before) else _shows_life(root, before)):
                raise _locked_by(root, before) from None
            _bury(file, before, root / f".{us['nonce']}.tmp")
            continue
        except OSError as error:
            raise unwritable(file, error) from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(us, stream)
        return


def _bury(file: Path, dead: Mapping[str, Any] | None, aside: Path) -> None:
    """Take away the file of a holder that is dead, but not that of another command which has just done so itself."""
    with contextlib.suppress(FileNotFoundError):  # where it is gone already
        file.rename(aside)
        buried = None
        with contextlib.suppress(StorageError):
            buried = read_json(aside)
        if buried == dead or not isinstance(buried, dict):
            aside.unlink()
        else:
            aside.rename(file)


def _written_holder(root: Path) -> dict[str, Any] | None:
    """The same as ``read_holder``, but for a file that another command has made and not filled yet."""
    end = time.monotonic() + HALF_WRITTEN
    while (holder := read_holder(root)) is None and (root / HOLDER).exists() and time.monotonic() < end:
        time.sleep(HALF_WRITTEN / 40)
    return holder


def _shows_life(root: Path, holder: Mapping[str, Any]) -> bool:
    """Whether a holder on another machine writes a heartbeat while we watch."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(min(0.5, PATIENCE / 5))
        now = read_holder(root)
        if now != holder:
            return now is not None
    return False


def _beat(root: Path, us: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(StorageError):  # a full disk is noticed, and said, where a run is to be written
            if _is_ours(root, us):
                us["beat"] += 1
                write_json(root / HOLDER, us, durable=False)


def _is_ours(root: Path, us: Mapping[str, Any]) -> bool:
    holder = read_holder(root)
    return holder is not None and holder.get("nonce") == us["nonce"]


def read_holder(root: Path) -> dict[str, Any] | None:
    """Who says that it trains into the directory; None where nobody does, or the file is being written."""
    with contextlib.suppress(StorageError):
        holder = read_json(root / HOLDER)
        return holder if isinstance(holder, dict) else None
    return None


def _locked_by(root: Path, holder: Mapping[str, Any] | None) -> Locked:
    who = "another command"
    if holder is not None:
        who = f"process {holder.get('process')} on {holder.get('host')} since {holder.get('since')}"
    return Locked(f"{root} is in use by {who}; wait for it to end")


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


def unshared_locks(root: Path) -> str | None:
    """A warning where the directory lies on a mount whose locks other machines do not see; None elsewhere."""
    with contextlib.suppress(OSError):
        mounts = [
            line.split()
            for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        ]
        place = root.resolve()
        inside = [fields for fields in mounts if len(fields) > 3 and place.is_relative_to(_unescaped(fields[1]))]
        if inside:
            *_, mount = sorted(inside, key=lambda fields: len(fields[1]))
            given = set(mount[3].split(","))
            options = {"nolock", "localflock", "local_lock=all", "local_lock=flock"} & given
            if mount[2] == "lustre" and not given & {"flock", "localflock"}:
                options = {"no locks"}
            if options:
                return (
                    f"{root} is on a mount with {', '.join(sorted(options))}: other machines do not see its lock, and "
                    "may do the same work again; no result is harmed"
                )
    return None


def _unescaped(mount: str) -> str:
    """A path of /proc/mounts, where a blank is written as its octal number."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount)
