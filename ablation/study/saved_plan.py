"""A plan as a file: which runs of which grid, one per line, to be read, divided and trained exactly so.

The first line is of the grid: its file and its baseline's with what they held, and what replaces their values. Every
other line is a run; lines that are taken out are not trained. Runs are planned again from the grid's file, so that the
lines say what is trained and cannot change it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..store.checks import both, list_of, mapping_of, optional, plain, record, run_id, text, whole
from ..store.files import replacing
from .folder import relative

if TYPE_CHECKING:
    from ..grid.plan import Plan

ENDING = ".jsonl"
SCHEMA = 1
LARGEST = 2**30
"""Bytes of a plan that is read."""
_HEAD = both(
    record(
        {
            "schema": whole,
            "grid": text,
            "file": text,
            "sha256": mapping_of(text),
            "settings": list_of(text),
            "seeds": optional(whole),
        }
    ),
    mapping_of(plain),
)
_RUN = record({"id": run_id, "cell": text, "seed": whole, "config": mapping_of(plain)})


@dataclass(frozen=True)
class SavedPlan:
    """What a plan file says."""

    file: Path
    grid: Path
    sha256: dict[str, str]
    """Of the grid's file and its baseline's, by their names."""
    settings: tuple[str, ...]
    seeds: int | None
    runs: dict[str, int]
    """By id, the line."""

    def check(self, plan: "Plan") -> None:
        """Errors: InputError where the grid would be planned otherwise today."""
        for name, content in _sources(plan).items():
            if self.sha256.get(name) != content:
                raise InputError(f"{self.file}: {name} has changed since; `ablate plan --save` writes it again")
        planned = {run.id for run in plan.runs}
        for run, line in self.runs.items():
            if run not in planned:
                what = f"the run {run[:12]} is none of {self.grid.name} any more; its data or a default have changed"
                raise InputError(f"{self.file}:{line}:1: {what}")


def save(plan: "Plan", file: Path, settings: Sequence[str], seeds: int | None) -> int:
    """Write a plan; returns the number of runs. Errors: InputError where tuning decides first; StorageError."""
    from ..config.layered import dump

    if not plan.decided:
        what = "is not tuned, or not matched in time, yet, so that its runs are not known"
        raise InputError(f"{plan.name} {what}; `ablate run` goes on")
    labels = {run.id: cell.label for cell in plan.cells for run in cell.runs}
    head = {
        "schema": SCHEMA,
        "grid": plan.name,
        "file": relative(Path(plan.grid.document.file), file.absolute().parent),
        "sha256": _sources(plan),
        "settings": list(settings),
        "seeds": seeds,
    }
    runs = [{"id": r.id, "cell": labels[r.id], "seed": r.seed, "config": dict(dump(r.config))} for r in plan.runs]
    with replacing(file) as staged:
        staged.write_text("".join(f"{json.dumps(line)}\n" for line in (head, *runs)), encoding="utf-8")
    return len(runs)


def read(file: Path) -> SavedPlan:
    """Read a plan file. Errors: InputError, with the line."""
    try:
        if file.stat().st_size > LARGEST:
            raise InputError(f"{file}: is larger than {LARGEST:,} bytes, the limit for a plan")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    rows: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{file}:{number}:1: is not JSON") from None
        if (what := (_RUN if rows else _HEAD)(row)) is not None:
            raise InputError(f"{file}:{number}:1: {what.lstrip('.: ')}")
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: is empty; `ablate plan --save` writes it")
    head, *runs = rows
    return SavedPlan(
        file,
        file.absolute().parent / head["file"],
        head["sha256"],
        tuple(head["settings"]),
        head["seeds"],
        {run["id"]: number for number, run in enumerate(runs, start=2)},
    )


def _sources(plan: "Plan") -> dict[str, str]:
    file, base = Path(plan.grid.document.file), Path(plan.grid.base)
    contents = ((file, plan.grid.document.content), (base, plan.base))
    return {path.name: sha256(content).hexdigest() for path, content in contents}
