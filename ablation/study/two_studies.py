"""Two studies: what their folders hold, for their comparison."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, nearest
from ..store.results import read_record
from ..store.runs import Store
from .folder import grids_in
from .manifest import Manifest, name_of_own, read_manifest, refuse_undecided, run_ids

if TYPE_CHECKING:
    from ..compare.two_studies import StudyRuns, TwoStudies


def find_folder(study: str | Path, runs: Path) -> Path:
    """The folder of a grid: itself, or the one in ``runs`` of a grid's name or file. Errors: InputError."""
    path, store = Path(study), Store(runs)
    if (path / "manifest.json").is_file():
        return path
    names, name = grids_in(store), name_of_own(path, store)
    if name in names:
        return runs / name
    if path.is_file():
        raise InputError(f"{study}: it was not run yet, so that {runs} has no folder of it")
    known = f"; grids: {', '.join(names)}{nearest(str(study), names)}" if names else ""
    raise InputError(f"{study}: no grid in {runs} has that name, nor is it the folder of one{known}")


def compare_folders(a: Path, b: Path, metric: str | None = None) -> "TwoStudies":
    """The second study minus the first.

    Errors: InputError where they are the same folder or cannot be compared; StorageError where one is damaged.
    """
    from ..compare.two_studies import compare_studies

    if a.resolve() == b.resolve():
        raise InputError(f"{b}: it is the same folder twice; name another grid, or one in another folder of runs")
    name_a, name_b = distinct_names(a, b)
    return compare_studies(_read(a, name_a), _read(b, name_b), metric)


def distinct_names(a: Path, b: Path) -> tuple[str, str]:
    """The names of two grids; where they are the same, with as much of their folders as makes them differ."""
    sides = a.resolve().parts, b.resolve().parts
    for length in range(1, max(map(len, sides)) + 1):
        names = tuple("/".join(parts[-length:]) for parts in sides)
        if names[0] != names[1]:
            return names[0], names[1]
    return str(a), str(b)


def _read(folder: Path, name: str) -> "StudyRuns":
    from ..compare.two_studies import StudyRuns

    manifest: Manifest | None = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: has no manifest.json; give the folder of a grid, such as runs/quickstart")
    refuse_undecided(manifest)
    store = Store(folder.absolute().parent)
    identities = {}
    for cell in manifest["cells"]:
        for run in cell["runs"]:
            record = read_record(store.directory(run["id"]) / "run.json", run["id"])
            if record is not None:
                identities[run["id"]] = record["identity"]
                break  # seeds of a cell differ in nothing else
    return StudyRuns(name, manifest, store.results(run_ids(manifest)), identities, str(store.root.resolve()))
