"""What the mirror reads in a run directory besides its rows: how the run ended, and the mirror's own ledger.

The ledger `mirror.json` records that a run was mirrored completely. It is a cache: without it, a run is mirrored again.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import StorageError
from ..store.checks import list_of, mapping_of, optional, plain, record, text, truth, whole
from ..store.files import read_json
from ..store.results import FINISHED, read_end, read_record
from ..store.rows import METRICS
from ..store.schemas import MEASURED, check_file

LEDGER = "mirror.json"
_LEDGER = record(
    {},
    {
        **dict.fromkeys(("project", "mode", "status", "at"), text),
        **dict.fromkeys(("rows", "bytes"), whole),
        "complete": truth,
        "wandb_dir": optional(text),
        "tags": list_of(text),
        "keys": mapping_of(plain),
    },
)


@dataclass(frozen=True)
class MirroredEnd:
    """How a run ended: `status` is completed, diverged or failed; `summary` holds flat values for W&B."""

    status: str
    summary: Mapping[str, str | int | float | bool]
    attempt: int = 0  # of a failed run

    @property
    def exit_code(self) -> int:
        """The exit code that W&B is given."""
        return 1 if self.status == "failed" else 0


def read_mirrored_end(directory: Path) -> MirroredEnd | None:
    """How the run in ``directory`` ended; None while it has not. Errors: StorageError where a file is damaged."""
    end = read_end(directory, directory.name)
    if end.status == "missing":
        return None
    if end.status not in FINISHED:
        failure = read_record(directory / "failure.json", directory.name) or {}
        reason = f"{failure.get('kind')}: {failure.get('reason')}"
        return MirroredEnd("failed", {"status": "failed", "reason": reason}, failure.get("attempt") or 0)
    file = directory / "result.json"
    result = read_record(file, directory.name) or {}
    check_file(file, result, MEASURED)
    quality = result["quality"]
    values = {"status": end.status, "reason": end.reason or ""}
    for kind in ("final", "best"):
        values |= {f"{kind}_{name}": value for name, value in (quality.get(kind) or {}).items()}
    for lens in ("stability", "efficiency"):
        values |= result.get(lens) or {}
    return MirroredEnd(end.status, _scalars(values))


@dataclass(frozen=True)
class Ledger:
    """What of a run was mirrored, and where to."""

    project: str = ""
    mode: str = ""
    status: str = ""
    rows: int = 0
    bytes: int = 0  # of the metrics file
    complete: bool = False
    at: str = ""
    wandb_dir: str | None = None
    tags: Sequence[str] = ()
    """Those that it has, of all grids that it is in."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    """What was logged flat: factors, and its cell in each grid."""

    def covers(
        self,
        directory: Path,
        project: str,
        mode: str,
        end: MirroredEnd,
        tags: Sequence[str] = (),
        keys: Mapping[str, Any] = MappingProxyType({}),
    ) -> bool:
        """Whether the run as it is now is mirrored, with these tags and keys.

        A run that is online needs no offline copy: uploading that would append its rows to those on the server.
        """
        return (
            self.complete
            and self.project == project
            and self.mode in (mode, "online")
            and self.status == end.status
            and self.bytes == _size(directory / METRICS)
            and set(tags) <= set(self.tags)
            and all(name in self.keys and self.keys[name] == value for name, value in keys.items())
        )


def read_ledger(directory: Path) -> Ledger:
    """The ledger; an empty one where it is missing or unreadable."""
    known = {entry.name for entry in fields(Ledger)}
    try:
        ledger = read_json(directory / LEDGER)
    except StorageError:
        ledger = {}
    if not isinstance(ledger, dict) or _LEDGER(ledger) is not None:
        return Ledger()
    return Ledger(**{name: value for name, value in ledger.items() if name in known})


def write_ledger(directory: Path, ledger: Ledger) -> None:
    """Write the ledger atomically, with the current time. Errors: OSError."""
    entry = asdict(replace(ledger, at=datetime.now(UTC).isoformat(timespec="seconds")))
    draft = directory / f".{LEDGER}.{os.getpid()}"
    draft.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    draft.replace(directory / LEDGER)


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
