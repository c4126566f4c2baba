"""The file that holds the state of a run, and the JSON beside it that says what the file holds and whether it is whole.

The JSON is written last, so a file without one counts as not written. torch does not notice a changed bit in a tensor,
so a file whose SHA-256 is another than in the JSON is not loaded.
"""

import shutil
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor, nn

from ..errors import StorageError
from ..store.files import read_json, replacing, unreadable, unwritable, write_json

SCHEMA = 1
SUFFIX = ".pt"
CHUNK_SIZE = 2**20
PLAIN = (bool, int, float, str, bytes, type(None), Tensor, nn.Parameter, torch.dtype, torch.device)


class UnusableStateError(Exception):
    """Why a state is not gone on from, in one line."""


class StateFiles(CheckpointIO):
    """How Lightning writes and reads the state of a run; ``storage_options`` are what the JSON says besides."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_state(Path(path), checkpoint, storage_options)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Tensors return to the device that they were on: what a component has put on the CPU stays there."""
        state: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return state

    def remove_checkpoint(self, path: str | Path) -> None:
        remove_state(Path(path))


def write_state(file: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write ``file`` and its JSON, each whole or not at all, and on the disk when this returns.

    Errors: StorageError; TypeError for what could not be read again.
    """
    check_plain(state, "")
    with replacing(file) as staged, staged.open("wb") as stream:
        hashed = _Hashed(stream)
        try:
            torch.save(state, cast(IO[bytes], hashed))
        except RuntimeError:  # torch's own, after a write that failed
            if hashed.error is None:
                raise
            raise hashed.error from None
    write_json(_json_of(file), {"schema": SCHEMA, "sha256": hashed.digest.hexdigest(), "size": hashed.size, **about})


def read_about(file: Path) -> dict[str, Any]:
    """What the JSON of ``file`` says, once the file is known to be what was written. Errors: UnusableStateError."""
    try:
        about = read_json(_json_of(file))
        if about is None:
            raise UnusableStateError("it was not written to its end")
        if not isinstance(about, dict) or about.get("schema") != SCHEMA:
            raise UnusableStateError("another version of this program wrote it, or its JSON is damaged")
        digest = digest_of(file)
    except (StorageError, FileNotFoundError) as error:
        raise UnusableStateError(f"it cannot be read: {error}") from None
    if digest != about.get("sha256"):
        raise UnusableStateError("it is damaged: its SHA-256 is not that of what was written")
    return about


def remove_state(file: Path) -> None:
    """Remove a state, its JSON first, so that no half of it is taken for whole. Errors: StorageError."""
    try:
        _json_of(file).unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(file, error) from None


def copy_state(file: Path, to: Path) -> None:
    """Write a state under another name as well. Errors: StorageError."""
    try:
        shutil.copyfile(file, to)
        shutil.copyfile(_json_of(file), _json_of(to))
    except OSError as error:
        raise unwritable(to, error) from None


def digest_of(file: Path, size: int | None = None) -> str:
    """The SHA-256 of a file, or of its first ``size`` bytes. Errors: StorageError; FileNotFoundError."""
    digest, left = sha256(), file.stat().st_size if size is None else size
    try:
        with file.open("rb") as stream:
            while left > 0 and (chunk := stream.read(min(left, CHUNK_SIZE))):
                digest.update(chunk)
                left -= len(chunk)
    except OSError as error:
        raise unreadable(file, error) from None
    return digest.hexdigest()


def check_plain(value: Any, place: str) -> None:
    """Errors: TypeError for what ``torch.load`` with ``weights_only`` refuses, with its place in the state."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            check_plain(key, place)
            check_plain(item, f"{place}.{key}" if place else str(key))
    elif type(value) in (list, tuple, set, torch.Size):
        for index, item in enumerate(value):
            check_plain(item, f"{place}[{index}]")
    elif type(value) not in PLAIN:
        raise TypeError(
            f"{place} is a {type(value).__name__}, which no checkpoint can hold: numbers, strings, tensors, lists and "
            "dictionaries can"
        )


def _json_of(file: Path) -> Path:
    return file.with_suffix(".json")


class _Hashed:
    """A file to write to that knows its SHA-256, and the error of a write where torch hides it."""

    def __init__(self, stream: IO[bytes]):
        self.stream, self.digest, self.size = stream, sha256(), 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self.digest.update(data)
            self.size += len(data)
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()
