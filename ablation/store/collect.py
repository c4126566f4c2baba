"""What in ``runs/`` nothing needs any more, and deleting it."""

import contextlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from .attempts import remove, run_of
from .check import SHARD, is_unfinished, listing, size_of, unfinished
from .files import describe_error, read_json, unwritable
from .grids import MANIFEST, grid_folders, is_run_id, read_run_ids, read_shorter_ids, start_of
from .runs import Store

STARTS = re.compile(rb"start_from\W{1,8}([0-9a-f]{4,32})\b")
"""What a grid file or a manifest says of the runs that others start from."""

KINDS = ("run", "replaced", "damaged", "attempt", "order", "unfinished")
"""Of ``Garbage``, in the order in which they are listed."""


@dataclass(frozen=True)
class Garbage:
    """A folder or file that nothing needs."""

    kind: str
    """``run``: in no manifest; ``replaced``, ``damaged``: moved aside; ``attempt``, ``order``: of a run in no manifest;
    ``unfinished``: what a command was writing or deleting when it was ended."""
    path: Path
    size: int
    """In bytes."""


def find_garbage(store: Store) -> list[Garbage]:
    """All that nothing needs.

    A run is needed where a manifest names it, and where one that is needed starts from it. Runs with other numbers, in
    ``conflicts/``, stay: they show that something is wrong. Errors: StorageError, also where a manifest is damaged, as
    it is not known then what it needs.
    """
    try:
        found = [Garbage(kind, path, size_of(path)) for kind, path in _garbage(store)]
    except OSError as error:
        raise StorageError(f"{error.filename or store.root}: cannot be read ({describe_error(error)})") from None
    return sorted(found, key=lambda garbage: (KINDS.index(garbage.kind), garbage.path))


def delete(found: Collection[Garbage], store: Store) -> list[Garbage]:
    """Delete what was found, as far as it is still not needed; returns what was. The caller holds the lock.

    Each goes by one rename, after which nothing reads it, so that one that was interrupted leaves nothing half. Errors:
    StorageError.
    """
    doomed = {garbage.path for garbage in found}
    deleted = [garbage for garbage in find_garbage(store) if garbage.path in doomed]
    for garbage in deleted:
        try:
            if garbage.kind != "unfinished":
                remove(garbage.path)
            elif garbage.path.is_dir() and not garbage.path.is_symlink():
                shutil.rmtree(garbage.path)
            else:
                garbage.path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(garbage.path, error) from None
    return deleted


def _garbage(store: Store) -> Iterator[tuple[str, Path]]:
    runs = store.root / "store"
    needed = _needed(store)
    for shard in listing(runs):
        if SHARD.fullmatch(shard.name):
            for run in listing(shard):
                if is_run_id(run.name) and run.name not in needed:
                    yield "run", run
    ordered = {_failed_run(order) for order in listing(runs / "orders")}
    for folder in ("replaced", "damaged"):
        names = (path for path in listing(runs / folder) if not is_unfinished(path.name))
        yield from ((folder, path) for path in names if path.name not in ordered or folder != "replaced")
    for kind in ("attempt", "order"):
        for path in listing(runs / f"{kind}s"):
            if is_run_id(run_of(path)) and run_of(path) not in needed:
                yield kind, path
    yield from (("unfinished", path) for path in unfinished(store.root))


def _needed(store: Store) -> set[str]:
    """The ids of all runs that manifests name, and of those that these start from, and so on."""
    named: set[str] = set()
    begins: set[str] = set()
    for folder in grid_folders(store.root):
        named |= {*read_run_ids(folder), *read_shorter_ids(folder)}
        for file in (folder / MANIFEST, folder / "grid.yaml"):
            if file.is_file():
                begins |= {begin.decode() for begin in STARTS.findall(file.read_bytes())}
    for begin in begins:  # of runs that were not trained yet, too
        named |= {path.name for path in listing(store.root / "store" / begin[:2]) if path.name.startswith(begin)}
    needed: set[str] = set()
    attempts = store.attempts()
    while named:
        needed |= named
        directories = (
            directory
            for run_id in named
            for directory in (
                store.directory(run_id),
                store.root / "store" / "orders" / run_id,
                *attempts.get(run_id, []),
            )
        )
        named = {start for directory in directories if (start := start_of(directory)) is not None} - needed
    return needed


def _failed_run(order: Path) -> str | None:
    """The failed run, by its name in ``replaced``, that is gone on from where this order is trained."""
    with contextlib.suppress(StorageError):
        run = read_json(order / "run.json")
        return run.get("failed_run") if isinstance(run, dict) else None
    return None
