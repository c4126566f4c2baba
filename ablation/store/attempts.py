"""Attempts: who trains a run works in a directory of their own, which becomes the run by one rename.

    store/orders/<id>/run.json      what is to be trained; written by the driver, only read by who trains it
    store/attempts/<id>.<nonce>/    one attempt at it, known to nobody else
    store/<2 hex digits>/<id>/      the run: the first attempt that came to an end

A rename refuses a place that holds anything, so the first attempt to end is the run, whoever comes back later; its
files stay together; and no file system has to know hard links. Of two attempts that end differently, a result comes
before a failure. An attempt that ended without an end of the run, as where its process was killed, stays where it is:
the next one goes on from its checkpoint.
"""

import contextlib
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import StorageError
from .aside import set_aside
from .checkpoints import CHECKPOINT, checkpoint_step, copy_checkpoint, furthest, keep_for_retry
from .digests import with_digests
from .files import describe_error, read_json, sync, sync_folder, unwritable, write_json
from .process import is_alive_here, is_here, may_be_alive, this_process
from .results import SCHEMA, RunStatus, read_end
from .same_numbers import have_same_numbers

ATTEMPT, ENDED, LOG = "attempt.json", "ended.json", "log.txt"
RECENT = 120.0
"""Seconds since the last word of an attempt of another machine, up to which it is taken to be at work."""

Commit = Literal["committed", "conflict"]
"""Of an attempt: it is the run now, or another one with the same numbers is; or another one with other numbers."""


@dataclass(frozen=True)
class Order:
    """A run that is to be trained."""

    run_id: str
    directory: Path
    """With its run.json."""

    @property
    def store(self) -> Path:
        return self.directory.parent.parent


How = Literal["committed", "conflict", "stopped", "given_up", "storage", "died", "never_began"]


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, as whoever trained it says, or as whoever watched it had to conclude.

    ``committed``: its run has an end, by this attempt or by one before it with the same numbers; ``conflict``: with
    others, so that this attempt lies in ``store/conflicts/``; ``stopped``: on request; ``given_up``: by no fault of the
    run, for ``reason``; ``storage``: nothing could be written; ``died``: its process ended without a word;
    ``never_began``: it had not even a directory.
    """

    run_id: str
    how: How
    status: RunStatus | None = None
    """Of the run, where it has come to an end."""
    reason: str | None = None
    where: str = ""
    """The name of the attempt's directory."""
    cause: str | None = None
    """What a process died of: see ``launch.death``."""
    at: str | None = None
    """``file:line`` in the code, where that is known."""
    node: str | None = None
    """The machine, where it is not known to be that of the command."""


def begin(order: Order) -> Path:
    """The directory of a new attempt, with what is to be trained and the checkpoint of an earlier attempt.

    That may be one that failed, and was the run until it was ordered again. Errors: StorageError.
    """
    nonce = uuid.uuid4().hex[:12]
    attempt = order.store / "attempts" / f"{order.run_id}.{nonce}"
    about = {
        "schema": SCHEMA,
        "id": order.run_id,
        "nonce": nonce,
        **this_process(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }
    try:
        ordered = (order.directory / "run.json").read_bytes()
    except OSError as error:
        raise StorageError(f"{order.directory / 'run.json'}: cannot be read ({describe_error(error)})") from None
    try:
        attempt.mkdir(parents=True)
        (attempt / "run.json").write_bytes(ordered)
        failed = read_json(attempt / "run.json").get("failed_run")
        replaced = [] if failed is None else [order.store / "replaced" / failed]
        if (source := furthest([*replaced, *attempts_of(order.store, order.run_id)])) is not None:
            copy_checkpoint(source, attempt)
            about["from_step"] = checkpoint_step(attempt) or 0
    except OSError as error:
        raise unwritable(attempt, error) from None
    write_json(attempt / ATTEMPT, about)
    return attempt


def commit(attempt: Path, name: str, content: dict[str, Any]) -> Commit:
    """Write the end of a run, result.json or failure.json, into an attempt, and make the attempt the run.

    The end is the last file that reaches the disk, so that an attempt that has one is complete; it has the digests of
    the others. A failure keeps its checkpoint, from which it can be tried again. Errors: StorageError; an attempt with
    an end is kept then, and the next command finishes it.
    """
    try:
        if name == "failure.json":
            keep_for_retry(attempt)
        for file in filter(Path.is_file, attempt.iterdir()):
            sync(file)
        end = with_digests(attempt, {"schema": SCHEMA, "id": run_of(attempt), **content})
    except OSError as error:
        raise unwritable(attempt, error) from None
    write_json(attempt / name, end)
    return rename(attempt)


def finish(attempt: Path) -> Commit:
    """Make an attempt the run whose process was killed after it had written the end. Errors: StorageError."""
    try:
        sync_folder(attempt)  # which may not have been done yet
    except OSError as error:
        raise unwritable(attempt, error) from None
    return rename(attempt)


def rename(attempt: Path) -> Commit:
    """Make an attempt that has its end the run. Errors: StorageError."""
    run_id, _, nonce = attempt.name.partition(".")
    directory = run_directory(attempt.parent.parent, run_id)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(directory.parent.parent)
        if not (attempt / "failure.json").exists():
            shutil.rmtree(attempt / CHECKPOINT, ignore_errors=True)  # only now, as it is needed until there is an end
        try:
            attempt.rename(directory)
        except OSError as error:
            if not is_of(directory, nonce):  # a network file system repeats a rename whose answer was lost
                if not has_end(directory):
                    raise unwritable(directory, error) from None
                if not ((attempt / "result.json").exists() and has_failed(directory)):
                    return _lose(attempt, directory)
                set_aside(directory, attempt.parent.parent, "replaced")
                attempt.rename(directory)
        sync_folder(directory.parent)
    except OSError as error:
        raise unwritable(directory, error) from None
    return "committed"


def give_up(attempt: Path, kind: str, reason: str) -> None:
    """Write down why an attempt ended without an end of its run. Errors: StorageError."""
    write_json(attempt / ENDED, {"schema": SCHEMA, "id": run_of(attempt), "kind": kind, "reason": reason})


def why_ended(attempt: Path) -> tuple[str, str] | None:
    """Kind and reason of an attempt that was given up; None for one that is at work, or was cut short."""
    try:
        ended = read_json(attempt / ENDED)
    except StorageError:
        return None
    return (str(ended.get("kind")), str(ended.get("reason"))) if isinstance(ended, dict) else None


def attempts_of(store: Path, run_id: str) -> list[Path]:
    """All attempts at a run that are not the run itself, in the order in which they began."""
    return all_attempts(store, run_id).get(run_id, [])


def is_running(attempt: Path) -> bool:
    """Whether a process is known to train in it: one that lives here, or one elsewhere that wrote a moment ago."""
    with contextlib.suppress(StorageError, OSError):
        writer = read_json(attempt / ATTEMPT)
        if not isinstance(writer, dict):
            return False
        if is_here(writer):
            return writer.get("process") != os.getpid() and is_alive_here(writer)
        written = max(file.stat().st_mtime for file in attempt.iterdir())
        return time.time() - written < RECENT
    return False


def all_attempts(store: Path, only: str | None = None) -> dict[str, list[Path]]:
    """The attempts at every run, by its id, in the order in which they began; ``only`` at the run of that id."""
    found: dict[str, list[tuple[int, Path]]] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(store / "attempts") as entries:
        for entry in entries:
            run_id, dot, _ = entry.name.partition(".")
            if run_id and dot and only in (None, run_id):  # a look at each of thousands would cost much
                with contextlib.suppress(FileNotFoundError):  # it has become the run since it was listed
                    began = entry.stat().st_mtime_ns
                    found.setdefault(run_id, []).append((began, Path(entry.path)))
    return {run_id: [path for _, path in sorted(attempts)] for run_id, attempts in found.items()}


def has_come_further(attempt: Path) -> bool:
    """Whether an attempt has written a checkpoint later than the one that it began with."""
    step = checkpoint_step(attempt)
    if step is None:
        return False
    with contextlib.suppress(StorageError):
        about = read_json(attempt / ATTEMPT)
        return isinstance(about, dict) and step > about.get("from_step", 0)
    return False


def is_at_work(attempt: Path) -> bool:
    """Whether the process of an attempt may still train: another one of this machine that lives, or one elsewhere."""
    with contextlib.suppress(StorageError):
        about = read_json(attempt / ATTEMPT)
        return isinstance(about, dict) and why_ended(attempt) is None and may_be_alive(about)
    return False


def host_of(attempt: Path) -> str | None:
    """The machine on which an attempt is made, by its name; None where that is not known."""
    with contextlib.suppress(StorageError):
        about = read_json(attempt / ATTEMPT)
        return about.get("host") if isinstance(about, dict) else None
    return None


def remove(directory: Path) -> None:
    """Delete a directory with what is in it, in a way that leaves nothing that looks like an attempt or a run."""
    with contextlib.suppress(FileNotFoundError):
        doomed = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.tmp")
        directory.rename(doomed)
        shutil.rmtree(doomed)


def run_directory(store: Path, run_id: str) -> Path:
    """Where a run is, or will be."""
    return store.joinpath(folder_of(run_id), run_id)


def folder_of(run_id: str) -> str:
    """The folder of the store that has it, beside others."""
    return run_id[:2]


def is_of(directory: Path, nonce: str) -> bool:
    """Whether a run was this attempt."""
    with contextlib.suppress(StorageError):
        about = read_json(directory / ATTEMPT)
        return isinstance(about, dict) and about.get("nonce") == nonce
    return False


def has_end(directory: Path) -> bool:
    """Whether a run, or an attempt, has come to its end; a damaged end is one, as it is not to be replaced."""
    try:
        return read_end(directory, run_of(directory)).status != "missing"
    except StorageError:
        return True


def has_failed(directory: Path) -> bool:
    """Whether a run has come to its end without a result."""
    with contextlib.suppress(StorageError):
        return read_end(directory, run_of(directory)).status in ("failed", "oom")
    return False


def _lose(attempt: Path, directory: Path) -> Commit:
    """Another attempt is the run already: this one is dropped, or kept where both have a result and numbers differ."""
    if (attempt / "failure.json").exists() or have_same_numbers(attempt, directory):
        remove(attempt)
        return "committed"
    conflicts = attempt.parent.parent / "conflicts"
    conflicts.mkdir(exist_ok=True)
    attempt.rename(conflicts / attempt.name)
    sync_folder(conflicts)
    return "conflict"


def run_of(attempt: Path) -> str:
    """The id of the run that an attempt is at, or that a directory is of."""
    return attempt.name.partition(".")[0]
