"""Does everything in ``runs/`` hold what was written there? What is found wrong is only repaired on request."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .attempts import finish, is_running, remove, run_directory, run_of
from .digests import digest_of
from .files import describe_error, read_json, unwritable
from .grids import CONTROLS, MANIFEST, grid_folders, is_run_id, read_run_ids
from .lock import HOLDER, is_held
from .results import WEIGHTS, read_end
from .run_files import ENDS
from .runs import Store
from .schemas import BENCH, BENCH_SCHEMA, read_checked
from .verify import Fault, verify_run

ASIDE = ("conflicts", "damaged", "replaced")
"""Folders in ``store/`` of runs that count no more."""
FOLDERS = ("attempts", "orders", *ASIDE)
SHARD = re.compile("[0-9a-f]{2}")
ATTEMPT_NAME = re.compile(r"([0-9a-f]{32})\.\w+")
PLUGIN = re.compile(r"([0-9a-f]{64})\.py")
YOUNG = 60.0
"""Seconds in which the file that replaces the heartbeat's may still be renamed."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be."""

    kind: str
    """One word for it, which stays the same: see ``docs/runs.md``."""
    where: Path
    what: str
    advice: str
    """What repairing does or, where it does nothing, what the user can do."""
    repair: Callable[[], str] | None = field(default=None, compare=False)
    """Does it, and says what it did. Errors: OSError, StorageError."""


@dataclass
class Counts:
    """What was seen."""

    runs: int = 0
    grids: int = 0
    not_trained: int = 0
    """Runs that manifests name and that have not come to an end."""
    in_no_grid: int = 0
    without_digests: int = 0
    """Of earlier versions."""
    without_weights: int = 0
    """Whose weights were deleted, or never saved."""
    stopped: int = 0
    """Attempts that the next command goes on from."""
    orders: int = 0
    """Runs that were to be trained and have not come to an end."""
    aside: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many there are in ``conflicts``, ``damaged`` and ``replaced``, and their bytes."""
    being_trained: bool = False
    """Whether a command was at work, so that attempts, orders and unfinished files were left out."""


class Check:
    """One walk through ``runs/``. Errors: StorageError where a folder cannot be listed.

    Args:
        store: what is checked.
        large: whether weights and states are read too, which takes as long as reading them from the disk.
        alone: whether the caller holds the lock.
    """

    def __init__(self, store: Store, large: bool = True, alone: bool = False):
        self.store, self.large = store, large
        self.counts = Counts(being_trained=not alone and is_held(store.root))
        self.runs: set[str] = set()
        """Those that have come to an end, whether damaged or not."""

    def problems(self) -> Iterator[Problem]:
        """All that is wrong, one after the other. What is repaired before the next one is asked for is seen so."""
        try:
            if not self.counts.being_trained:
                yield from self._unfinished_files()
                yield from self._ended_attempts()
            for directory in self._run_directories():
                yield from self._run(directory)
            if not self.counts.being_trained:
                yield from self._attempts()
                yield from self._orders()
            yield from self._unknown()
            yield from self._grids()
            self._count_aside()
        except OSError as error:
            raise StorageError(
                f"{error.filename or self.store.root}: cannot be read ({describe_error(error)})"
            ) from None

    @property
    def _runs(self) -> Path:
        return self.store.root / "store"

    def _run_directories(self) -> Iterator[Path]:
        for shard in listing(self._runs):
            if SHARD.fullmatch(shard.name) and shard.is_dir():
                yield from (directory for directory in listing(shard) if not is_unfinished(directory.name))

    def _run(self, directory: Path) -> Iterator[Problem]:
        run_id = directory.name
        if directory.is_symlink() or not is_run_id(run_id) or not directory.is_dir():
            yield self._unknown_entry(directory)
            return
        if directory != (place := run_directory(self._runs, run_id)):
            yield self._misplaced(directory, place)
            return
        self.counts.runs += 1
        verified = verify_run(directory, run_id, self.large)
        if any((directory / name).exists() for name in ENDS):
            self.runs.add(run_id)
        if verified.fault is not None:
            yield self._damaged_run(directory, verified.fault)
            return
        self.counts.without_digests += not verified.has_digests
        is_completed = read_end(directory, run_id).status == "completed"
        self.counts.without_weights += is_completed and not (directory / WEIGHTS).exists()
        ledger = directory / "mirror.json"
        try:
            read_json(ledger)
        except StorageError:
            advice = "--repair deletes it, and the run is sent to W&B again"
            yield Problem("damaged_mirror", ledger, "it is not JSON", advice, partial(_delete, ledger))

    def _damaged_run(self, directory: Path, fault: Fault) -> Problem:
        if not fault.is_damage:
            return Problem("unreadable", fault.file, fault.what, "see to its permissions, or use a later version")
        kind = "without_end" if fault.file == directory else "damaged_run"
        advice = "--repair moves the run to store/damaged, and `ablate run` trains it again"
        return Problem(kind, fault.file, fault.what, advice, partial(self._set_aside, directory))

    def _misplaced(self, directory: Path, place: Path) -> Problem:
        shown = place.relative_to(self.store.root)
        if place.exists():
            what, advice = f"it belongs in {shown}, where there is a run", "--repair moves it to store/damaged"
            return Problem("misplaced_run", directory, what, advice, partial(self._set_aside, directory))

        def move() -> str:
            place.parent.mkdir(exist_ok=True)
            directory.rename(place)
            return f"moved to {shown}; check again"

        return Problem("misplaced_run", directory, f"it belongs in {shown}", "--repair moves it there", move)

    def _ended_attempts(self) -> Iterator[Problem]:
        for attempt in self._attempt_directories():
            if not any((attempt / name).exists() for name in ENDS):
                continue
            fault = verify_run(attempt, run_of(attempt), self.large).fault
            if fault is None:
                advice = "--repair makes it the run, as the next `ablate run` does"
                what = "it has come to an end and is not the run yet"
                yield Problem("ended_attempt", attempt, what, advice, partial(self._finish, attempt))
            elif fault.is_damage:
                advice = "--repair moves the attempt to store/damaged"
                yield Problem("damaged_attempt", fault.file, fault.what, advice, partial(self._set_aside, attempt))
            else:
                yield Problem("unreadable", fault.file, fault.what, "see to its permissions, or use a later version")

    def _attempts(self) -> Iterator[Problem]:
        for attempt in self._attempt_directories():
            if any((attempt / name).exists() for name in ENDS):
                continue
            if run_of(attempt) in self.runs:
                yield _leftover("leftover_attempt", attempt, "its run has come to an end")
            else:
                self.counts.stopped += 1

    def _attempt_directories(self) -> Iterator[Path]:
        for attempt in listing(self._runs / "attempts"):
            if ATTEMPT_NAME.fullmatch(attempt.name) and attempt.is_dir():
                yield attempt

    def _orders(self) -> Iterator[Problem]:
        for order in listing(self._runs / "orders"):
            if order.name in self.runs:
                yield _leftover("leftover_order", order, "its run has come to an end")
            elif is_run_id(order.name):
                self.counts.orders += 1

    def _unfinished_files(self) -> Iterator[Problem]:
        for path in unfinished(self.store.root):
            yield _leftover("unfinished", path, "a command was ended while it wrote or deleted it")

    def _unknown(self) -> Iterator[Problem]:
        for entry in listing(self._runs):
            known = entry.name in FOLDERS or (SHARD.fullmatch(entry.name) and entry.is_dir())
            if not known and not entry.name.startswith("."):
                yield self._unknown_entry(entry)
        for folder, is_known in (("attempts", ATTEMPT_NAME.fullmatch), ("orders", is_run_id)):
            for entry in listing(self._runs / folder):
                if not is_known(entry.name) and not is_unfinished(entry.name):
                    yield self._unknown_entry(entry)

    def _unknown_entry(self, entry: Path) -> Problem:
        return Problem("unknown", entry, "nothing that ablate writes", "move it elsewhere")

    def _grids(self) -> Iterator[Problem]:
        named: set[str] = set()
        readable = True
        for folder in grid_folders(self.store.root):
            self.counts.grids += 1
            try:
                named |= set(read_run_ids(folder))
            except StorageError as error:
                readable = False
                what = str(error).removeprefix(f"{folder / MANIFEST}: ").partition("; ")[0]
                advice = "`ablate run` with its grid file writes it again"
                yield Problem("damaged_manifest", folder / MANIFEST, what, advice)
            yield from self._other_files(folder)
        self.counts.not_trained = len(named - self.runs)
        self.counts.in_no_grid = len(self.runs - named) if readable else 0

    def _other_files(self, folder: Path) -> Iterator[Problem]:
        bench = folder / "bench.json"
        try:
            read_checked(bench, BENCH, BENCH_SCHEMA)
        except StorageError:
            advice = "delete it; `ablate bench` writes it again"
            yield Problem("damaged_bench", bench, "not what `ablate bench` writes", advice)
        if (folder / CONTROLS).is_dir():
            controls = Check(Store(folder / CONTROLS), self.large)
            controls.counts.being_trained |= self.counts.being_trained  # who holds the lock of the whole may train them
            yield from controls.problems()
        for copy in listing(folder / "plugins"):
            match = PLUGIN.fullmatch(copy.name)
            if match and digest_of(copy) != match[1]:
                advice = "--repair deletes it, and `ablate run` copies the plugin again"
                yield Problem("damaged_plugin", copy, "not the file that its name says", advice, partial(_delete, copy))

    def _count_aside(self) -> None:
        for name in ASIDE:
            found = [entry for entry in listing(self._runs / name) if not is_unfinished(entry.name)]
            if found:
                self.counts.aside[name] = (len(found), sum(map(size_of, found)))

    def _finish(self, attempt: Path) -> str:
        outcome = finish(attempt)
        self.store.conclude(run_of(attempt))
        return "it is the run now" if outcome == "committed" else "moved to store/conflicts: the run has other numbers"

    def _set_aside(self, directory: Path) -> str:
        place = self.store.set_aside(directory, "damaged")
        self.runs.discard(run_of(directory))
        return f"moved to {place.relative_to(self.store.root)}"


def mend(problem: Problem) -> str | None:
    """Repair what is wrong and return what was done; None where only the user can. The caller holds the lock.

    Errors: StorageError where something cannot be moved or deleted.
    """
    if problem.repair is None:
        return None
    try:
        return problem.repair()
    except OSError as error:
        raise unwritable(problem.where, error) from None


def unfinished(root: Path) -> Iterator[Path]:
    """Files and folders that a command was writing or deleting when it was ended, and that nothing reads."""
    yield from _unfinished_in(root, depth=3)


def _unfinished_in(folder: str | Path, depth: int) -> Iterator[Path]:
    """Down to a run in its place, or an attempt, whose own folders are not looked into."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if is_unfinished(entry.name):
            if not _is_heartbeat(Path(entry.path)):
                yield Path(entry.path)
        elif depth and entry.is_dir(follow_symlinks=False) and entry.name != "wandb":
            if Path(folder).name == "attempts" and is_running(Path(entry.path)):
                continue  # by a job that was left to itself
            yield from _unfinished_in(entry.path, depth - 1)


def is_unfinished(name: str) -> bool:
    """Whether a name is one under which files are written or deleted before, or after, they have their own."""
    return name.startswith(".") and (name.endswith(".tmp") or name.startswith(".mirror.json."))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(map(size_of, listing(path)))
    return path.lstat().st_size


def as_dict(problem: Problem, root: Path, done: str | None = None) -> dict[str, Any]:
    """A problem as plain data."""
    return {
        "kind": problem.kind,
        "path": problem.where.relative_to(root).as_posix(),
        "what": problem.what,
        "advice": problem.advice,
        "repairable": problem.repair is not None,
        "done": done,
    }


def _is_heartbeat(entry: Path) -> bool:
    return entry.name.startswith(f".{HOLDER}.") and time.time() - entry.lstat().st_mtime < YOUNG


def _leftover(kind: str, path: Path, what: str) -> Problem:
    return Problem(kind, path, what, "nothing needs it; --repair deletes it", partial(_delete, path))


def _delete(path: Path) -> str:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif is_unfinished(path.name):
        shutil.rmtree(path)
    else:
        remove(path)
    return "deleted"


def listing(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where it is absent, or gone by now. Errors: OSError."""
    try:
        with os.scandir(folder) as entries:
            return [Path(path) for path in sorted(entry.path for entry in entries)]
    except (FileNotFoundError, NotADirectoryError):
        return []
