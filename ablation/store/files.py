"""Files that are there whole or not at all."""

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from ..errors import StorageError


def write_json(file: Path, value: Any) -> None:
    """Replace ``file`` in one step. Errors: StorageError."""
    with _staged(file, value) as staged:
        staged.replace(file)


def write_json_once(file: Path, value: Any) -> bool:
    """Make ``file`` in one step unless it is there; says whether it was made. Errors: StorageError."""
    with _staged(file, value) as staged:
        try:
            os.link(staged, file)
        except FileExistsError:
            return False
    return True


def read_json(file: Path) -> Any:
    """What ``file`` holds, None where it is absent. Errors: StorageError when it is damaged."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"{file}: cannot be read ({error}); move it away to have the run trained again") from None


@contextlib.contextmanager
def _staged(file: Path, value: Any) -> Any:
    """``value`` written beside ``file`` and on the disk; gone afterwards."""
    staged = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with staged.open("w") as stream:
            json.dump(value, stream, indent=1, allow_nan=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        yield staged
        _sync_folder(file.parent)
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A rename is safe only when the folder is on the disk as well; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
