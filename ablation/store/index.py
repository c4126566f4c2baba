"""An index of the runs: what commands need of each, so that ten thousand runs are not read again by every command.

It is one SQLite file in the folder of runs, which may be deleted at any time. What it says of a run holds as long as
the files of the run have the times, sizes and places on the disk that they had when they were read; a damaged index,
and one of another version of the code that reads runs, is made anew without a word. Where it cannot be written there
is none.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from ..errors import StorageError
from .code import Recorded
from .example_losses import ExampleLosses, StoredExampleLosses
from .results import Evaluation, RunResult, read_record, read_result
from .run_files import states

NAME = ".index.sqlite"
FEW = 50
"""Runs whose reading takes less time than opening the index."""

Trained = Mapping[str, Any]
"""What run.json says of the code that trained it."""


def read_results(root: Path, directories: Mapping[str, Path]) -> dict[str, RunResult]:
    """By id, the runs of these directories that have come to an end, with the code that trained them.

    Runs that are damaged or have no end are left out.
    """
    found_states, code = states(directories), Recorded()
    found: dict[str, RunResult] = {}
    known = _load(root / NAME) if len(found_states) > FEW else {}
    new: list[tuple[str, str, str, int]] = []
    for run_id, state in found_states.items():
        saved_state, text, check = known.get(run_id, ("", "", 0))
        if saved_state == state and check == _check(state, text):
            found[run_id] = _from_plain(run_id, from_json(text), directories[run_id], code)
        elif (read := _read(directories[run_id], run_id)) is not None:
            result, trained = read
            versions, stale = code.of(trained)
            found[run_id] = replace(result, code=versions, stale_code=stale)
            if len(found_states) > FEW:
                text = json.dumps(_plain(result, trained))
                new.append((run_id, state, text, _check(state, text)))
    if new:
        _save(root / NAME, new)
    return found


def _read(directory: Path, run_id: str) -> tuple[RunResult, Trained] | None:
    try:
        result = read_result(directory, run_id)
        run = (read_record(directory / "run.json", run_id) or {}) if result.ended else {}
    except StorageError:
        return None
    return result, {key: run[key] for key in ("code", "plugins") if key in run}


def _plain(result: RunResult, trained: Trained) -> dict[str, Any]:
    return {
        "status": result.status,
        "metrics": dict(result.metrics),
        "reason": result.reason,
        "initial_loss": result.initial_loss,
        "stability": dict(result.stability),
        "directions": dict(result.directions),
        "units": dict(result.units),
        "evaluations": [[each.tokens, each.seconds, each.loss] for each in result.evaluations],
        "tokens": result.tokens,
        "training_seconds": result.training_seconds,
        "record": dict(result.record),
        "by_position": dict(result.by_position),
        "example_losses": result.example_losses is not None,
        "trained": dict(trained),
    }


def _from_plain(run_id: str, plain: dict[str, Any], directory: Path, code: Recorded) -> RunResult:
    versions, stale = code.of(plain.pop("trained"))
    plain["evaluations"] = [Evaluation(*each) for each in plain["evaluations"]]
    losses: ExampleLosses | None = StoredExampleLosses(directory) if plain.pop("example_losses") else None
    return RunResult(run_id, **plain, code=versions, stale_code=stale, example_losses=losses)


def _check(state: str, text: str) -> int:
    return zlib.crc32(text.encode(), zlib.crc32(state.encode()))


@cache
def _version() -> int:
    """Of the code that reads runs, a number that SQLite can keep."""
    modules = ("index", "run_files", "results", "rows", "example_losses", "schemas", "files", "digests")
    folder = Path(__file__).parent
    code = b"".join((folder / f"{module}.py").read_bytes() for module in modules)
    return int.from_bytes(sha256(code).digest()[:3], "big") + 1


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """The index, without waiting for another command that writes it. Errors: sqlite3.Error."""
    with closing(sqlite3.connect(file, timeout=0.0, isolation_level=None)) as index:
        index.execute("PRAGMA synchronous = OFF")
        index.execute("PRAGMA journal_mode = MEMORY")
        yield index


def _load(file: Path) -> dict[str, tuple[str, str, int]]:
    if not file.is_file():
        return {}
    try:
        with _opened(file) as index:
            if index.execute("PRAGMA user_version").fetchone() != (_version(),):
                return {}
            rows = index.execute("SELECT id, state, result, checksum FROM runs").fetchall()
            return {
                run_id: (state, text, check)
                for run_id, state, text, check in rows
                if isinstance(state, str) and isinstance(text, str)
            }
    except sqlite3.OperationalError:  # another command is writing it
        return {}
    except (sqlite3.Error, UnicodeDecodeError, OverflowError):
        with suppress(OSError):
            file.unlink(missing_ok=True)
        return {}


def _save(file: Path, new: list[tuple[str, str, str, int]]) -> None:
    try:
        with _opened(file) as index:
            index.execute("BEGIN IMMEDIATE")
            if index.execute("PRAGMA user_version").fetchone() != (_version(),):
                index.execute("DROP TABLE IF EXISTS runs")
                index.execute(f"PRAGMA user_version = {_version()}")
            index.execute(
                "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, state TEXT, result TEXT, checksum INTEGER)"
            )
            index.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", new)
            index.execute("COMMIT")
    except sqlite3.OperationalError:  # it cannot be written, or another command is writing it
        return
    except (sqlite3.Error, ValueError):
        with suppress(OSError):
            file.unlink(missing_ok=True)
