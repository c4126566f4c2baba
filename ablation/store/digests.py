"""SHA-256 of the files of a run, recorded with its end, so that what was changed or damaged later can be told.

The end of a run, result.json or failure.json, has ``files``, the digest of each file that stays as it is, by its path
in the run's directory, and ``sha256``, the digest of all that it says itself. Runs of earlier versions have neither. A
digest protects against damage and slips, not against somebody who can write into the store.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .files import size_of
from .run_files import ENDS

FILES, DIGEST = "files", "sha256"
"""Keys of result.json and failure.json."""

UNRECORDED = (*ENDS, "attempt.json", "ended.json", "log.txt", "mirror.json")
"""The end itself, and files that are written to after it, or have nothing of the run."""

SMALL = (".json", ".jsonl", ".npy")
"""Endings of the files that tables are made of. The others may be large, and be deleted: weights, and states."""

STATE = "continue."
"""Beginning of the names of the state that a longer run goes on from: it and what is said of it may be deleted."""


def with_digests(directory: Path, end: Mapping[str, Any]) -> dict[str, Any]:
    """The end of a run with the digests of the files in its directory, and of itself. Errors: OSError, StorageError."""
    paths = (file.name for file in sorted(directory.iterdir()) if file.is_file())
    files = {path: digest_of(directory / path) for path in paths if path not in UNRECORDED and _is_whole(path)}
    return with_own_digest({**end, FILES: files})


def with_own_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of ``content`` where a changed bit is to be noticed."""
    # As JSON has it: a tuple is a list, and keys are strings.
    return {**content, DIGEST: _digest_of_content(json.loads(json.dumps(content, allow_nan=False)))}


def without_digests(end: Any) -> Any:
    """The end of a run without them: they differ between two trainings, as times do."""
    return {key: value for key, value in end.items() if key not in (FILES, DIGEST)} if isinstance(end, dict) else end


def has_digests(end: Mapping[str, Any]) -> bool:
    """Whether they were recorded."""
    return DIGEST in end


def changed_files(directory: Path, end: Mapping[str, Any], checked: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Files that are not what was recorded, by their paths in the run's directory, and what is wrong with each.

    ``checked`` says of a path whether its file is read. A large file that is gone may have been deleted on purpose, and
    is left out. The first path is "" where the end itself is not what was written. Errors: OSError, StorageError.
    """
    files = end.get(FILES)
    if not is_as_written(end):
        yield "", "its content is not what its sha256 says"
    elif not isinstance(files, dict) or not all(map(is_plain, files)):
        yield "", "`files` is no list of files in the run's directory"
    else:
        for path, digest in files.items():
            if not checked(path):
                continue
            try:
                if digest_of(directory / path) != digest:
                    yield path, "its content is not what the sha256 recorded with the run says"
            except FileNotFoundError:
                if is_small(path):
                    yield path, "it is gone"


def is_small(path: str) -> bool:
    """Whether a file of a run is one that tables are made of."""
    return path.endswith(SMALL) and not path.startswith(STATE)


def is_plain(path: str) -> bool:
    """Whether a path stays inside the directory that it is relative to."""
    parts = path.split("/")
    return not (set(parts) & {"", ".", ".."}) and not any(character in path for character in "\\:\0")


def digest_of(file: Path) -> str:
    """Errors: OSError; StorageError for a device or a pipe."""
    size_of(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of_content(end: Mapping[str, Any]) -> str:
    """The same for equal content, in whatever order its keys are."""
    text = json.dumps(end, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def is_as_written(content: Any) -> bool:
    """Whether it is what ``with_own_digest`` made."""
    if not isinstance(content, dict):
        return False
    try:
        return content.get(DIGEST) == _digest_of_content({key: one for key, one in content.items() if key != DIGEST})
    except (ValueError, RecursionError):  # with NaN, or nested too deeply: nothing that was written
        return False


def _is_whole(path: str) -> bool:
    name = path.rpartition("/")[2]
    return not (name.startswith(".") and name.endswith(".tmp"))
