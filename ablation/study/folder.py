"""Which grid file a folder in ``runs`` is about: its name is the grid's, and two files may have the same name."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.bundled import GRIDS, find
from ..errors import InputError
from ..store.files import unreadable
from ..store.grids import grid_folders
from ..store.runs import Store


def grids_in(store: Store) -> list[str]:
    """The names of the grids that have a folder in ``runs``. Errors: StorageError where it cannot be read."""
    try:
        return [folder.name for folder in grid_folders(store.root)] if store.root.is_dir() else []
    except OSError as error:
        raise unreadable(store.root, error) from None


def name_of(grid: Path, store: Store) -> str | None:
    """The name of the grid that is meant by a file, by a name in ``runs`` or by that of a grid in ``conf/``."""
    if not grid.is_file() and str(grid) in grids_in(store):
        return str(grid)
    file = find(grid, GRIDS, others=[str(grid)])
    return name_in_file(file) if file.is_file() else str(grid)


def name_in_file(grid: Path) -> str | None:
    """The name that a grid file gives itself; None where no folder can have it, which planning will refuse."""
    from ..yaml import read

    name = read(grid).value.get("name")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,80}", name) else None


def take_folder(grid: Path, manifest: Mapping[str, Any], store: Store) -> str | None:
    """Make sure that the folder with the name of a grid file, in which ``manifest`` is, is its own.

    It is where the manifest is of the same file, wherever both were moved together, or of one with the same content.
    Of a file that is gone or has another name by now it is taken over, which a sentence says that is returned. Errors:
    InputError where it is another file's.
    """
    refuse_others(grid, manifest, store)
    if _same_file(grid, manifest, store):
        return None
    former = f"{next(iter(manifest['sources']), 'another file')}, which is gone or has another name now"
    return f"{store.root / manifest['grid']} was about {former}; from now on it is about {grid}"


def refuse_others(grid: Path, manifest: Mapping[str, Any], store: Store) -> None:
    """Errors: InputError where a manifest is about another file than ``grid``, which has the same name."""
    name, other = manifest["grid"], owner(grid, manifest, store)
    if other is not None:
        raise InputError(
            f"{grid}: name: {name!r} is also that of {_shown(other)}, which has the folder {store.root / name}; give "
            "one of the two another name, or keep the runs of this one elsewhere with --runs"
        )


def owner(grid: Path, manifest: Mapping[str, Any], store: Store) -> Path | None:
    """The other grid file of the same name that a manifest is about; None where that is ``grid``, or is gone."""
    if _same_file(grid, manifest, store):
        return None
    files = [store.root / manifest["file"]] if "file" in manifest else []
    for file in [*files, *map(Path, list(manifest["sources"])[:1])]:
        try:
            if file.is_file() and name_in_file(file) == manifest["grid"]:
                return file
        except (InputError, OSError):
            continue  # what is no grid file any more is not run either
    return None


def _shown(file: Path) -> Path:
    """As it is written from the current folder, where it is inside."""
    resolved, here = file.resolve(), Path.cwd().resolve()
    return resolved.relative_to(here) if resolved.is_relative_to(here) else resolved


def _same_file(grid: Path, manifest: Mapping[str, Any], store: Store) -> bool:
    file, content = next(iter(manifest["sources"].items()), ("", ""))
    known = {str(grid.resolve()): file, relative(grid, store.root): manifest.get("file")}
    return any(here == recorded for here, recorded in known.items()) or content in fingerprints([grid]).values()


def relative(file: Path, root: Path) -> str:
    """The path from ``runs`` to a file, which stays the same where both are moved together."""
    try:
        return Path(os.path.relpath(file.resolve(), root.resolve())).as_posix()
    except ValueError:  # on Windows, between two drives
        return file.resolve().as_posix()


def fingerprints(files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its whole path; empty where it is absent."""
    return {
        str(file.resolve()): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files
    }
