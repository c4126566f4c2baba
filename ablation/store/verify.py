"""Whether a run's directory holds what was written when the run ended."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.identity import run_id as id_of
from ..errors import StorageError
from .digests import FILES, changed_files, digest_of, has_digests, is_small
from .files import describe_error
from .results import SCHEMA, WEIGHTS, read_record, read_result
from .run_files import ENDS


def check_weights(directory: Path, run_id: str) -> None:
    """Errors: StorageError where the weights of a run are not those that were written when it ended."""
    files = (read_record(directory / "result.json", run_id) or {}).get(FILES)
    recorded = files.get(WEIGHTS) if isinstance(files, dict) else None  # which runs of earlier versions have not
    if recorded is not None and digest_of(directory / WEIGHTS) != recorded:
        what = "its content is not what the sha256 recorded with the run says"
        advice = "`ablate check --repair` moves the run aside, and the next `ablate run` trains it again"
        raise StorageError(f"{directory / WEIGHTS}: {what}; {advice}")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file of a run."""

    file: Path
    what: str
    is_damage: bool = True
    """Not where it cannot be read, or is of a later version: then nothing may be said of the run."""


@dataclass(frozen=True)
class Verified:
    """What was found out about a run."""

    fault: Fault | None
    """The first one; None where there is none."""
    ended: bool = False
    has_digests: bool = False
    record: Any = None
    """What run.json says."""


def verify_run(directory: Path, run_id: str, large: bool = True) -> Verified:
    """Read all files of a run and compare them with what was recorded; ``large``: its weights and states as well.

    Of a run without recorded digests the structure of its files is checked. Nothing needs torch.
    """
    file = directory / "run.json"
    try:
        record = read_record(file, run_id)
        if record is None:
            return Verified(Fault(file, "it is gone"))
        identity = record.get("identity")
        if not isinstance(identity, dict) or not _is_identity(identity, run_id):
            return Verified(Fault(file, "its identity is not that of this run: its id is another"))
        for name in ENDS:
            file = directory / name
            content = read_record(file, run_id)
            if content is None:
                continue
            if has_digests(content):
                fault = next(_faults(directory, file, content, large), None)
                return Verified(fault, True, True, record)
            read_result(directory, run_id)
            return Verified(None, True, False, record)
    except StorageError as error:
        return Verified(_explain(error, directory, file))
    except OSError as error:
        return Verified(Fault(file, f"cannot be read ({describe_error(error)})", is_damage=False))
    return Verified(Fault(directory, "it has not come to an end"), record=record)


def _faults(directory: Path, end_file: Path, end: dict[str, Any], large: bool) -> Iterator[Fault]:
    for path, what in changed_files(directory, end, lambda path: large or is_small(path)):
        yield Fault(directory / path if path else end_file, what)


def _is_identity(identity: dict[str, Any], run_id: str) -> bool:
    try:
        return id_of(identity) == run_id
    except (ValueError, RecursionError):
        return False


def _explain(error: StorageError, directory: Path, file: Path) -> Fault:
    """Which file the error is about, and whether it is damaged, or only not for us to read."""
    message = str(error)
    for candidate in sorted(directory.iterdir()):
        if message.startswith(f"{candidate}: "):
            file = candidate
    what = message.removeprefix(f"{file}: ").partition("; ")[0]
    return Fault(file, what, is_damage=not _is_unreadable(file) and not _is_newer(file))


def _is_unreadable(file: Path) -> bool:
    if not file.is_file():  # of a pipe there may be no end
        return False
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except OSError:
        return True
    return False


def _is_newer(file: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        record = json.loads(file.read_text(encoding="utf-8"))
        return isinstance(record, dict) and isinstance(record.get("schema"), int) and record["schema"] > SCHEMA
    return False
