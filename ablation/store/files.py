"""Files that are written whole or not at all, and what is said where that fails."""

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StorageError

LARGEST_JSON = 1 << 28
"""Bytes of a JSON file that are read; the manifest of 100,000 cells has fewer."""


def write_json(file: Path, value: Any, durable: bool = True) -> None:
    """Replace ``file`` in one step. Errors: StorageError; ValueError for what JSON cannot hold.

    What is not ``durable`` may be gone after a power cut.
    """
    text = json.dumps(value, indent=1, allow_nan=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(file, error) from None
    with replacing(file, durable) as staged:
        staged.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(file: Path, durable: bool = True) -> Iterator[Path]:
    """A path beside ``file`` to write to, which replaces ``file`` in one step once all is on the disk.

    Errors: StorageError.
    """
    if not file.name or (file.exists() and not file.is_file()):  # a folder, or a device, which would be replaced
        raise unwritable(file, OSError(errno.EISDIR, "it is no regular file"))
    staged = _beside(file)
    try:
        yield staged
        if durable:
            sync(staged)
        staged.replace(file)
        if durable:
            sync_folder(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def read_json(file: Path) -> Any:
    """What ``file`` holds, None where it is absent. Errors: StorageError when it cannot be read or is damaged."""
    try:
        if size_of(file) > LARGEST_JSON:
            raise damaged(file, f"larger than {LARGEST_JSON:,} bytes")
        text = file.read_text(encoding="utf-8")
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # which may be half of a pair, and then is not a character
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(file, error) from None
    except RecursionError:
        raise damaged(file, "nested too deeply") from None
    except ValueError as error:
        raise damaged(file, str(error)) from None


def size_of(file: Path) -> int:
    """Bytes. Errors: StorageError for a device or a pipe, whose reading might never end; OSError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise damaged(file, "a device or pipe, whose reading might never end")
    return status.st_size


MOVE_AWAY = "move it away, and {} writes it again"
SET_ASIDE = "the next `ablate run` of its grid sets the run aside and trains it again"
ADVICE = {
    "run.json": SET_ASIDE,
    "result.json": SET_ASIDE,
    "failure.json": SET_ASIDE,
    "metrics.jsonl": SET_ASIDE,
    "example_losses.npy": SET_ASIDE,
    "bench.json": MOVE_AWAY.format("`ablate bench`"),
    "inspection.json": MOVE_AWAY.format("`ablate inspect`"),
}


def damaged(file: Path, what: str) -> StorageError:
    """The error for a file that does not hold what it should, with what to do about it."""
    return StorageError(f"{file}: damaged ({what}); {ADVICE.get(file.name, MOVE_AWAY.format('the next `ablate run`'))}")


def unreadable(file: Path, error: OSError) -> StorageError:
    """The error where the system refuses to read."""
    return StorageError(f"{file}: cannot be read ({describe_error(error)})")


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error where the system refuses to write."""
    return StorageError(f"{path}: cannot be written ({describe_error(error)})")


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")


def sync(file: Path) -> None:
    """Wait until what ``file`` holds is on the disk."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk, as those of renamed files; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_error(error: OSError) -> str:
    """What the system says, in a few words."""
    return error.strerror or str(error) or type(error).__name__
