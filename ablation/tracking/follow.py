"""What the mirror reads in a run directory: rows as they are appended, how the run ended, its own ledger.

The ledger `mirror.json` says that a run was mirrored wholly. It is a cache: deleting it has the run mirrored again.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..store.results import FINISHED, METRICS, read_end, read_record

LEDGER = "mirror.json"


class RestartedError(Exception):
    """The file no longer begins with what was read: the run is being trained again."""


class RowReader:
    """The rows of a metrics file, each once, as they become complete."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._last_line = b""
        self.lines = 0
        self.size = 0  # bytes of the file at the last look, a torn last line included

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the rows that were completed since the last call, each with its line number from 0.

        Non-finite numbers, null in the file, come back as NaN: a curve that diverged then ends in NaN in W&B, while a
        key left out would let its last finite value stand in the summary.

        Raises:
            RestartedError: what was read before is no longer there.
        """
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._offset - len(self._last_line))
                block = stream.read()
        except FileNotFoundError:
            block = b""
        if not block.startswith(self._last_line):
            raise RestartedError
        block = block[len(self._last_line) :]
        self.size = self._offset + len(block)
        rows = []
        for line in block.split(b"\n")[:-1]:
            row = _parse(line)
            if row is not None:
                rows.append((self.lines, {key: math.nan if value is None else value for key, value in row.items()}))
            self._last_line = line + b"\n"
            self._offset += len(self._last_line)
            self.lines += 1
        return rows


@dataclass(frozen=True)
class MirroredEnd:
    """How a run ended: `status` is completed, diverged or failed; `summary` holds flat headline values."""

    status: str
    summary: Mapping[str, str | int | float | bool]
    attempt: int = 0  # of a failed run

    @property
    def exit_code(self) -> int:
        return 1 if self.status == "failed" else 0


def read_outcome(directory: Path) -> MirroredEnd | None:
    """How the run in ``directory`` ended; None while it has not. Errors: StorageError where a file is damaged."""
    end = read_end(directory, directory.name)
    if end.status == "missing":
        return None
    if end.status not in FINISHED:
        failure = read_record(directory / "failure.json", directory.name) or {}
        reason = f"{failure.get('kind')}: {failure.get('reason')}"
        return MirroredEnd("failed", {"status": "failed", "reason": reason}, failure.get("attempt") or 0)
    result = read_record(directory / "result.json", directory.name) or {}
    quality = result.get("quality") or {}
    values = {"status": end.status, "reason": end.reason or ""}
    for kind in ("final", "best"):
        values |= {f"{kind}_{name}": value for name, value in (quality.get(kind) or {}).items()}
    for lens in ("stability", "efficiency"):
        values |= result.get(lens) or {}
    return MirroredEnd(end.status, _scalars(values))


@dataclass(frozen=True)
class Ledger:
    """What was mirrored of a run, and to where."""

    project: str = ""
    mode: str = ""
    status: str = ""
    rows: int = 0
    bytes: int = 0  # of the metrics file
    complete: bool = False
    at: str = ""
    wandb_dir: str | None = None

    def covers(self, directory: Path, project: str, mode: str, outcome: MirroredEnd) -> bool:
        """Whether the run as it is now is mirrored.

        A run that is online needs no offline copy: uploading the copy would append its rows to those on the server.
        """
        return (
            self.complete
            and self.project == project
            and self.mode in (mode, "online")
            and self.status == outcome.status
            and self.bytes == _size(directory / METRICS)
        )


def read_ledger(directory: Path) -> Ledger:
    """Read the ledger; an absent one, and one that cannot be understood, is an empty one."""
    known = {entry.name for entry in fields(Ledger)}
    try:
        ledger = _parse((directory / LEDGER).read_bytes()) or {}
    except FileNotFoundError:
        ledger = {}
    return Ledger(**{name: value for name, value in ledger.items() if name in known})


def write_ledger(directory: Path, ledger: Ledger) -> None:
    """Write the ledger atomically, with the present time. Raises OSError."""
    entry = asdict(replace(ledger, at=datetime.now(UTC).isoformat(timespec="seconds")))
    draft = directory / f".{LEDGER}.{os.getpid()}"
    draft.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    draft.replace(directory / LEDGER)


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:  # a line torn by a killed process, in the middle if the run went on after it
        return None
    return value if isinstance(value, dict) else None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _scalars(values: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, str | int | float) and not (isinstance(value, float) and not math.isfinite(value))
    }
