"""From the arguments of a command to a plan, and from a plan or its manifest to a comparison."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError

if TYPE_CHECKING:
    from ..analysis import Comparison
    from ..grid import Plan
    from ..store.runs import Store


def load_plan(grid: Path, settings: Sequence[str], seeds: int | None, plugins: Sequence[Path]) -> "Plan":
    """Errors: InputError for anything that is wrong; nothing has been started by then."""
    from ..grid import make_plan, read_grid
    from ..plugins import load_plugins

    loaded = load_plugins(plugins)
    return make_plan(read_grid(grid), settings, seeds, loaded)


def save_plan(plan: "Plan", store: "Store") -> dict[str, Any]:
    """Write down what is compared, so that tables need neither torch nor the grid file; returns the manifest."""
    from ..store.files import write_json

    directory = store.grid_directory(plan.name)
    manifest = {**plan.manifest(), "sources": _fingerprints([Path(plan.grid.document.file), plan.grid.base])}
    write_json(directory / "manifest.json", manifest)
    try:
        (directory / "grid.yaml").write_bytes(Path(plan.grid.document.file).read_bytes())
    except OSError as error:
        raise StorageError(f"{directory}: cannot be written ({error.strerror})") from None
    return manifest


def load_manifest(grid: Path, runs: Path, plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """What the last ``ablate run`` of this grid compared; planned anew where the grid was never run or was changed.

    ``grid`` is a grid file, or the name of a grid in ``runs``.
    """
    from ..store.files import read_json
    from ..strict_yaml import read

    if not grid.suffix and not grid.exists() and (runs / grid / "manifest.json").exists():
        manifest: dict[str, Any] = read_json(runs / grid / "manifest.json")
        return manifest
    name = read(grid).value.get("name")
    written = read_json(runs / name / "manifest.json") if isinstance(name, str) else None
    if written is not None:
        sources = written["sources"]
        if str(grid.resolve()) in sources and sources == _fingerprints([Path(file) for file in sources]):
            return dict(written)
    return load_plan(grid, (), None, plugins).manifest()


def compare_runs(manifest: dict[str, Any], runs: Path, metric: str | None = None) -> "Comparison":
    """The comparison of all runs of a manifest, as far as they have come."""
    from ..analysis import compare, outcome

    ids = [run["id"] for cell in manifest["cells"] for run in cell["runs"]]
    outcomes = {run_id: outcome(runs / "store" / run_id[:2] / run_id, run_id) for run_id in ids}
    known = {name for result in outcomes.values() for name in result.metrics}
    if metric is not None and known and metric not in known:
        from ..errors import nearest

        raise InputError(
            f"--metric {metric}: not measured; measured: {', '.join(sorted(known))}{nearest(metric, known)}"
        )
    return compare(manifest, outcomes, metric)


def _fingerprints(files: list[Path]) -> dict[str, str]:
    return {
        str(file.resolve()): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files
    }
