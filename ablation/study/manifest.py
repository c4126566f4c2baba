"""From the arguments of a command to a plan, and from a plan or its manifest to a comparison."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Plan
    from ..store.runs import Store


def load_plan(
    grid: Path, settings: Sequence[str], seeds: int | None, plugins: Sequence[Path], until_decided: bool = False
) -> "Plan":
    """The whole plan; with the seeds of the last planned look if more may be added ``until_decided``.

    Errors: InputError for anything that is wrong; nothing has been started by then.
    """
    from ..grid.file import read_grid
    from ..grid.plan import make_plan
    from ..plugins import load_plugins

    loaded = load_plugins(plugins)
    read = read_grid(grid)
    if not until_decided:
        return make_plan(read, settings, seeds, loaded)
    from .sequential import planned_looks

    looks, most = planned_looks(read)
    return replace(make_plan(read, settings, most, loaded), interim_looks=looks)


def save_plan(plan: "Plan", store: "Store", work: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write down what is compared, so that tables need neither torch nor the grid file; returns the manifest.

    ``work`` is what each cell costs at inference, by its label. Looks that were planned once stay planned: a table of
    more seeds than the first look would else be judged as if nobody had looked before.
    """
    from ..store.files import write_json

    directory = store.grid_directory(plan.name)
    manifest = {**plan.manifest(), "sources": _fingerprints([Path(plan.grid.document.file), plan.grid.base])}
    if not plan.interim_looks and (earlier := earlier_manifest(directory)):
        manifest["interim_looks"] = earlier.get("interim_looks", [])
    if work is not None:
        manifest["cells"] = [{**cell, "work": work.get(cell["label"])} for cell in manifest["cells"]]
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
    if not grid.is_file():
        manifest = read_manifest(runs / grid)
        if manifest is not None:
            return manifest
    name = written_name(grid)
    manifest = read_manifest(runs / name) if name else None
    if manifest is not None:
        sources = manifest["sources"]
        if str(grid.resolve()) in sources and sources == _fingerprints([Path(file) for file in sources]):
            return manifest
    return load_plan(grid, (), None, plugins).manifest()


def earlier_manifest(directory: Path) -> dict[str, Any] | None:
    """What is about to be written anew, None where it is absent or damaged."""
    try:
        return read_manifest(directory)
    except StorageError:
        return None


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Errors: StorageError when it is damaged."""
    from ..store.files import damaged, read_json

    file = directory / "manifest.json"
    manifest: dict[str, Any] | None = read_json(file)
    if manifest is not None and not (isinstance(manifest, dict) and {"cells", "sources"} <= set(manifest)):
        raise damaged(file, "not what `ablate run` writes")
    return manifest


def written_name(grid: Path) -> str | None:
    """The name that a grid file gives itself; None where no folder can be called so, which planning will refuse."""
    from ..yaml import read

    name = read(grid).value.get("name")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,80}", name) else None


def compare_runs(manifest: dict[str, Any], runs: Path, metric: str | None = None) -> "Comparison":
    """The comparison of all runs of a manifest, as far as they have come."""
    from ..compare.comparison import compare
    from ..store.results import read_result

    ids = [run["id"] for cell in manifest["cells"] for run in cell["runs"]]
    outcomes = {run_id: read_result(runs / "store" / run_id[:2] / run_id, run_id) for run_id in ids}
    known = {name for result in outcomes.values() for name in result.metrics}
    if metric is not None and known and metric not in known:
        from ..errors import nearest

        raise InputError(
            f"--metric {metric}: not measured; measured: {', '.join(sorted(known))}{nearest(metric, known)}"
        )
    return compare(manifest, outcomes, metric, _bench(manifest, runs))


def _bench(manifest: dict[str, Any], runs: Path) -> dict[str, Any] | None:
    """What ``ablate bench`` wrote of this grid. Errors: StorageError when it is damaged."""
    from ..store.files import damaged, read_json

    file = runs / manifest["grid"] / "bench.json"
    bench: dict[str, Any] | None = read_json(file)
    if bench is not None and not (isinstance(bench, dict) and isinstance(bench.get("cells"), list)):
        raise damaged(file, "not what `ablate bench` writes")
    return bench


def _fingerprints(files: list[Path]) -> dict[str, str]:
    return {
        str(file.resolve()): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files
    }
