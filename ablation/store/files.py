"""Files that are written whole or not at all, and what is said where that fails."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StorageError


def write_json(file: Path, value: Any) -> None:
    """Replace ``file`` in one step. Errors: StorageError; ValueError for what JSON cannot hold."""
    with _staged(file, value) as staged:
        staged.replace(file)


def write_json_once(file: Path, value: Any) -> bool:
    """Create ``file`` in one step unless it exists; returns whether it did. Errors: as ``write_json``."""
    with _staged(file, value) as staged:
        try:
            os.link(staged, file)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside ``file`` to write to, which replaces ``file`` in one step once all is on the disk.

    Errors: StorageError.
    """
    staged = _beside(file)
    try:
        yield staged
        with staged.open("rb+") as stream:
            os.fsync(stream.fileno())
        staged.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def read_json(file: Path) -> Any:
    """What ``file`` holds, None where it is absent. Errors: StorageError when it cannot be read or is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(file, error) from None
    except (ValueError, RecursionError) as error:
        raise damaged(file, str(error)) from None


def damaged(file: Path, what: str) -> StorageError:
    """The error for a file that does not hold what it should."""
    return StorageError(f"{file}: damaged ({what}); move it away, and the next `ablate run` makes it anew")


def unreadable(file: Path, error: OSError) -> StorageError:
    """The error where the system refuses to read."""
    return StorageError(f"{file}: cannot be read ({_reason(error)})")


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error where the system refuses to write."""
    return StorageError(f"{path}: cannot be written ({_reason(error)})")


@contextlib.contextmanager
def _staged(file: Path, value: Any) -> Iterator[Path]:
    """``value`` written beside ``file`` and on the disk; gone afterwards."""
    text = json.dumps(value, indent=1, allow_nan=False)
    staged = _beside(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with staged.open("w", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        yield staged
        _sync_folder(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        with contextlib.suppress(OSError):  # where a disk fails, the first error is the one to report
            staged.unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")


def _sync_folder(folder: Path) -> None:
    """A rename is safe only when the folder is on the disk as well; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
