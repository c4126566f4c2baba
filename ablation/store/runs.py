"""The runs on disk. The directory is the truth; what state a run is in is read from its files, never kept twice."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import dump
from ..errors import Locked, StorageError
from ..grid import Run
from .code import code_of
from .files import read_json, write_json
from .states import State

SCHEMA = 1
"""Of run.json."""


class Store:
    """``runs/``: one directory per run under ``store/``, one per grid beside it."""

    def __init__(self, root: Path):
        self.root = root

    def directory(self, run_id: str) -> Path:
        return self.root / "store" / run_id[:2] / run_id

    def grid_directory(self, name: str) -> Path:
        return self.root / name

    def state(self, run_id: str) -> State:
        """Errors: StorageError when a file of the run is damaged or newer than this program."""
        directory = self.directory(run_id)
        result = read_json(directory / "result.json")
        if result is not None:
            if result.get("schema") != SCHEMA or result.get("status") not in ("completed", "diverged"):
                raise StorageError(f"{directory / 'result.json'}: not a result that this version can read")
            status: State = result["status"]
            return status
        failure = read_json(directory / "failure.json")
        if failure is None:
            return "missing"
        kind: str = failure["kind"]
        return {"oom": "oom", "killed": "killed"}.get(kind, "failed")  # type: ignore[return-value]

    def drifted(self, run: Run) -> bool:
        """Whether the run was trained by other code than what would train it now."""
        trained = read_json(self.directory(run.id) / "run.json")
        return trained is not None and trained["code"] != code_of(run.config)

    def to_train(self, runs: list[Run], retry: tuple[str, ...] = ()) -> list[Run]:
        """Those that have no result yet, and those that ``retry`` names by their state."""
        wanted = []
        for run in runs:
            state = self.state(run.id)
            again = state in retry or ("drifted" in retry and state != "missing" and self.drifted(run))
            if state in ("missing", "killed") or again:
                wanted.append(run)
        return wanted

    def prepare(self, run: Run, plugins: tuple[str, ...]) -> Path:
        """The run's directory, ready to train in: what an earlier attempt left in it is moved aside.

        Errors: StorageError.
        """
        directory = self.directory(run.id)
        if (directory / "result.json").exists():
            aside = self.root / "store" / "replaced" / f"{run.id}-{time.strftime('%Y%m%d-%H%M%S')}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(aside)
        with contextlib.suppress(FileNotFoundError):
            (directory / "failure.json").unlink()
        write_json(
            directory / "run.json",
            {
                "schema": SCHEMA,
                "id": run.id,
                "seed": run.seed,
                "config": dump(run.config),
                "identity": run.identity,
                "code": code_of(run.config),
                "plugins": list(plugins),
            },
        )
        return directory

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One driver at a time; the system lets go of it when the driver dies, however it dies.

        Errors: Locked, naming who holds it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = (self.root / ".lock").open("a+")
        except OSError as error:
            raise StorageError(f"{self.root}: cannot be written ({error.strerror})") from None
        with stream:
            if not _seize(stream):
                stream.seek(0)
                holder = stream.read().strip() or "another command"
                raise Locked(f"{self.root} is in use by {holder}; wait for it to end")
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
            stream.flush()
            yield


def _seize(stream: Any) -> bool:
    """Take an advisory lock without waiting; on Windows the first byte is locked."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
