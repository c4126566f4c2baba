"""The folders of grids, beside ``store/``, and the runs that their manifests name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..names import RESERVED
from .files import damaged, read_json
from .schemas import MANIFEST as CHECK

MANIFEST = "manifest.json"
CONTROLS = "controls"
"""In the folder of a grid, a store of its own: of the runs whose outcome is known before."""
RUN_ID = re.compile("[0-9a-f]{32}")
SCHEMA = 1
"""Of manifest.json."""


def grid_folders(root: Path) -> Iterator[Path]:
    """Those with a manifest, in the order of their names. Errors: OSError."""
    for folder in sorted(root.iterdir()):
        if folder.name.lower() not in RESERVED and not folder.name.startswith(".") and (folder / MANIFEST).is_file():
            yield folder


def read_run_ids(folder: Path) -> list[str]:
    """The ids of the runs of a grid, in the order of its cells, from its manifest. Errors: StorageError."""
    file = folder / MANIFEST
    manifest = read_json(file)
    if (problem := manifest_problem(manifest, folder.name)) is not None:
        raise damaged(file, problem)
    return run_ids(manifest)


def run_ids(manifest: Any) -> list[str]:
    """The same of a manifest without a problem."""
    return list(dict.fromkeys(run["id"] for cell in manifest["cells"] for run in cell["runs"]))


def read_shorter_ids(folder: Path) -> list[str]:
    """The ids of shorter runs that runs of a grid still have to go on from. Errors: StorageError."""
    manifest = read_json(folder / MANIFEST)
    return [str(run_id) for run_id in (manifest.get("shorter_runs") or {}).values()]


def read_control_ids(folder: Path) -> list[str]:
    """The ids of the controls of a grid, from a manifest that ``read_run_ids`` has read. Errors: StorageError."""
    return control_ids(read_json(folder / MANIFEST))


def control_ids(manifest: Any) -> list[str]:
    """The same of a manifest without a problem."""
    return list(dict.fromkeys(run for runs in (manifest.get("controls") or {}).values() for run in runs))


def controls_root(root: Path, grid: str) -> Path:
    """The folder of runs of a grid's controls: one of its own, since one of them is a run that is there already."""
    return root / grid / CONTROLS


def manifest_problem(manifest: Any, name: str) -> str | None:
    """Why a JSON value is not the manifest of the grid of that name; None where it is."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("cells"), list):
        return "no manifest of a grid"
    if manifest.get("schema") != SCHEMA:
        return f"of schema {manifest.get('schema')}, where this version reads {SCHEMA}"
    if manifest.get("grid") != name:
        return f"not of grid {name}"
    return None if (wrong := CHECK(manifest)) is None else f"no manifest: {wrong.removeprefix('.')}"


def is_run_id(value: Any) -> bool:
    """Whether a value is the id of a run."""
    return isinstance(value, str) and RUN_ID.fullmatch(value) is not None


def start_of(directory: Path) -> str | None:
    """The run that a run, an order or an attempt starts from. Errors: StorageError where its run.json is damaged."""
    record: Any = read_json(directory / "run.json")
    config = record.get("config") if isinstance(record, dict) else None
    start = config.get("start_from") if isinstance(config, dict) else None
    return start if is_run_id(start) else None
