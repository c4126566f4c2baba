"""An archive of a grid taken into ``runs/``. It comes from somebody else: nothing of it is believed.

All is written to a folder that nothing reads, compared with what the archive and the runs themselves record, and only
then moved to its place: each run by one rename, and the grid's folder last. Whenever that is interrupted, what is there
is whole, and the same command goes on.
"""

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, StorageError
from .archive import GRID_FILES, INDEX, MOST_FILES, SCHEMA, is_expected, is_grid_name, root_of_controls, run_of_path
from .digests import digest_of
from .files import describe_error, read_json, sync, sync_folder, unwritable
from .grids import MANIFEST, control_ids, controls_root, manifest_problem, read_run_ids, run_ids, start_of
from .results import FINISHED, read_end
from .runs import Store
from .same_numbers import numbers
from .tar import Entry, read_entries
from .verify import verify_run

LARGEST_INDEX = LARGEST_JSON = 1 << 28
"""Bytes that are read into memory at once."""


@dataclass
class Imported:
    """What became of the runs of an archive."""

    grid: str
    imported: int = 0
    present: int = 0
    """There already, with the same numbers."""
    set_aside: list[Path] = field(default_factory=list)
    """Where damaged runs, or such without an end, are now that were in their places."""
    conflicts: list[Path] = field(default_factory=list)
    """Where those are that are there already, with other numbers, which count."""
    kept_folder: bool = False
    """Whether the grid was there already, with its manifest."""


@dataclass(frozen=True)
class Index:
    """What an archive says that it has."""

    grid: str
    files: Mapping[str, tuple[int, str]]
    """Size and sha256 by path."""

    def runs(self, root: Path) -> dict[Path, list[str]]:
        """The runs of the grid and its controls, by where they belong in a folder of runs."""
        places = {root: None, controls_root(root, self.grid): root_of_controls(self.grid)}
        return {
            place: sorted({run_id for path in self.files if (run_id := run_of_path(path, inside)) is not None})
            for place, inside in places.items()
        }


def read_index(archive: Path) -> Index:
    """What an archive has, checked. Errors: InputError."""
    with _opened(archive) as stream:
        return _read_index(next(read_entries(stream, archive, MOST_FILES), None), archive)


def import_grid(store: Store, archive: Path) -> Imported:
    """Take over a grid and its runs; the caller holds the lock.

    A run that is there with the same numbers stays, one with others too: that of the archive is then put to
    ``conflicts/``. Errors: InputError where the archive is not what ``export_grid`` writes, or another grid of that
    name is there; StorageError.
    """
    staged = store.root / f".import.{uuid.uuid4().hex[:8]}.tmp"
    try:
        staged.mkdir()
        index = _unpack(archive, staged)
        _check_files(archive, staged, index, store.root)
        imported = Imported(index.grid, kept_folder=_is_there(staged, index, store))
        for (source, runs), place in zip(index.runs(staged).items(), index.runs(store.root), strict=True):
            for run_id in runs:
                _place_run(Store(source).directory(run_id), Store(place), imported)
        _place_folder(staged / index.grid, store.grid_directory(index.grid), imported.kept_folder)
    except OSError as error:
        raise unwritable(Path(error.filename or staged), error) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return imported


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    try:
        if not archive.is_file():
            raise InputError(f"FILE {archive}: there is no such file")
        stream = archive.open("rb")
    except OSError as error:
        raise InputError(f"FILE {archive}: it cannot be read ({describe_error(error)})") from None
    with stream:
        yield stream


def _unpack(archive: Path, staged: Path) -> Index:
    """Write the files of an archive to the disk, as its index has them. Errors: InputError, OSError."""
    with _opened(archive) as stream:
        entries = read_entries(stream, archive, MOST_FILES)
        index = _read_index(next(entries, None), archive)
        left = dict(index.files)
        for entry in entries:
            size, sha256 = left.pop(entry.name, (None, None))
            if size != entry.size:
                raise InputError(f"{archive}: {entry.name!r} is not in it as its index says")
            file = staged / entry.name
            file.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with file.open("xb") as written:
                for chunk in entry.chunks():
                    digest.update(chunk)
                    written.write(chunk)
            if digest.hexdigest() != sha256:
                raise InputError(f"{archive}: {entry.name} is damaged: its sha256 is another; copy the archive again")
            sync(file)
    if left:
        raise InputError(f"{archive}: {min(left)} is missing in it; copy the archive again")
    return index


def _read_index(entry: Entry | None, archive: Path) -> Index:
    if entry is None or entry.name != INDEX or entry.size > LARGEST_INDEX:
        raise InputError(f"{archive}: not an archive written by `ablate export`")
    try:
        about = json.loads(b"".join(entry.chunks()))
        schema, grid = about["schema"], about["grid"]
        files = {str(path): (int(of["bytes"]), str(of["sha256"])) for path, of in about["files"].items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(f"{archive}: its index, {INDEX}, is damaged") from None
    if schema != SCHEMA:
        raise InputError(f"{archive}: it is of schema {str(schema)[:20]}, where this version reads {SCHEMA}")
    if not is_grid_name(grid):
        raise InputError(f"{archive}: {str(grid)[:100]!r} is not the name of a grid")
    for path, (size, _) in files.items():
        if not is_expected(path, grid):
            raise InputError(f"{archive}: {path[:200]!r} is not a file of a grid or a run")
        if path.endswith(".json") and size > LARGEST_JSON:
            raise InputError(f"{archive}: {path} is too large for what it should be")
    names = {path.lower() for path in files}
    folders = {"/".join(path.split("/")[:depth]) for path in names for depth in range(1, path.count("/") + 1)}
    if len(names) < len(files) or names & folders:
        raise InputError(f"{archive}: it has two files of one name")
    if f"{grid}/{MANIFEST}" not in files:
        raise InputError(f"{archive}: it has no {grid}/{MANIFEST}")
    return Index(grid, files)


def _check_files(archive: Path, staged: Path, index: Index, root: Path) -> None:
    """Make sure that the files are those of a grid and its runs. Errors: InputError."""
    folder = staged / index.grid
    try:
        manifest = read_json(folder / MANIFEST)
        for name in GRID_FILES:
            if name.endswith(".json"):
                read_json(folder / name)
    except StorageError:
        raise InputError(f"{archive}: a file of {index.grid} is not JSON") from None
    if (problem := manifest_problem(manifest, index.grid)) is not None:
        raise InputError(f"{archive}: {index.grid}/{MANIFEST} is {problem}")
    for copy in (folder / "plugins").glob("*.py"):
        if digest_of(copy) != copy.stem:
            raise InputError(f"{archive}: {index.grid}/plugins/{copy.name} is not the file that its name says")
    for (place, runs), of_manifest in zip(index.runs(staged).items(), (run_ids, control_ids), strict=True):
        expected = set(of_manifest(manifest))
        for run_id in runs:
            directory = Store(place).directory(run_id)
            verified = verify_run(directory, run_id)
            if verified.fault is not None:
                raise InputError(f"{archive}: {verified.fault.file.relative_to(staged)}: {verified.fault.what}")
            _check_plugins(archive, verified.record, root)
            if (start := start_of(directory)) is not None:
                expected.add(start)
        if unexpected := set(runs) - expected:
            raise InputError(f"{archive}: run {min(unexpected)} is none of grid {index.grid}")


def _check_plugins(archive: Path, record: Mapping[str, Any], root: Path) -> None:
    """A run may not name a file that comes with it as the plugin to load for it."""
    plugins = record.get("plugins") or []
    try:
        files = [Path(plugin["file"]) for plugin in plugins]
        inside = [file for file in files if not file.is_absolute() or file.resolve().is_relative_to(root.resolve())]
    except (TypeError, KeyError, ValueError, OSError, RuntimeError):
        raise InputError(f"{archive}: run {record['id']}: its plugins are damaged") from None
    if inside:
        raise InputError(f"{archive}: run {record['id']}: {str(inside[0])!r} is no place of a plugin")


def _is_there(staged: Path, index: Index, store: Store) -> bool:
    """Whether the grid is there already. Errors: InputError where it is another one; StorageError."""
    ours, theirs = store.grid_directory(index.grid), staged / index.grid
    if not (ours / MANIFEST).exists():
        return False
    if set(read_run_ids(ours)) == set(read_run_ids(theirs)) or _is_same_file(ours, theirs, "grid.yaml"):
        return True
    raise InputError(
        f"{ours}: another grid is called {index.grid!r} here; import into another folder, with --runs, or move this one"
    )


def _is_same_file(one: Path, other: Path, name: str) -> bool:
    return (one / name).is_file() and (other / name).is_file() and digest_of(one / name) == digest_of(other / name)


def _place_run(staged: Path, store: Store, imported: Imported) -> None:
    """Move a run to its place, or to the conflicts, or leave it where it is no news. Errors: StorageError, OSError."""
    run_id = staged.name
    place = store.directory(run_id)
    is_finished = read_end(staged, run_id).status in FINISHED
    if not is_finished and (place.exists() or store.attempts().get(run_id)):  # what is here is no worse
        imported.present += 1
        return
    if place.exists():
        verified = verify_run(place, run_id)
        if verified.fault is not None:
            if not verified.fault.is_damage:
                raise StorageError(f"{verified.fault.file}: {verified.fault.what}")
            imported.set_aside.append(store.set_aside(place, "damaged"))
        elif is_finished and read_end(place, run_id).status not in FINISHED:
            store.set_aside(place, "replaced")
        elif _have_same_numbers(staged, place):
            imported.present += 1
            return
        else:
            place = place.parent.parent / "conflicts" / f"{run_id}.{uuid.uuid4().hex[:12]}"
            imported.conflicts.append(place)
    place.parent.mkdir(exist_ok=True, parents=True)
    for folder in [folder for folder in staged.rglob("*") if folder.is_dir()]:
        sync_folder(folder)
    sync_folder(staged)
    staged.rename(place)
    sync_folder(place.parent)
    sync_folder(place.parent.parent)
    if place.parent.name != "conflicts":
        imported.imported += 1
        store.conclude(run_id)


def _have_same_numbers(one: Path, other: Path) -> bool:
    """As two trainings of a run should; the weights of one of them may have been deleted."""
    try:
        ((result, rows, weights), (other_result, other_rows, other_weights)) = numbers(one), numbers(other)
    except (StorageError, ValueError, RecursionError):
        return False
    return (result, rows) == (other_result, other_rows) and (
        weights is None or other_weights is None or weights == other_weights
    )


def _place_folder(staged: Path, folder: Path, is_kept: bool) -> None:
    """Move the folder of a grid to its place; one that is there without a manifest keeps what it has."""
    if is_kept:
        return
    if not folder.exists():
        staged.rename(folder)
    else:
        for file in sorted(staged.rglob("*"), key=lambda file: (file.name == MANIFEST, file)):  # the manifest last
            place = folder / file.relative_to(staged)
            if file.is_dir():
                place.mkdir(exist_ok=True)
            elif not place.exists():
                file.rename(place)
    sync_folder(folder)
    sync_folder(folder.parent)
