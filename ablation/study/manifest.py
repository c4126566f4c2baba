"""The manifest of a grid: what ``ablate run`` has compared, so that tables need neither torch nor the grid file.

A grid's folder in ``runs/`` holds it as manifest.json, beside a copy of the grid file.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError, nearest
from ..names import reason_no_folder
from ..store.files import replacing, write_json
from ..store.results import FINISHED
from ..store.runs import Store
from ..store.schemas import BENCH, BENCH_SCHEMA, MANIFEST, MANIFEST_SCHEMA, read_checked
from .folder import fingerprints, grids_in, name_in_file, name_of, owner, refuse_others, relative
from .looks import with_earlier_looks
from .preregistration import register

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.file import Grid
    from ..grid.plan import Plan

Manifest = dict[str, Any]
"""As ``Plan.manifest`` makes it, with ``sources``, the fingerprints of the files that it was planned from, and
``settings``, the values from outside the file."""


def load_plan(
    grid: Path,
    settings: Sequence[str],
    seeds: int | None,
    plugins: Sequence[Path],
    until_decided: bool = False,
    adapt: "Callable[[Grid], Grid]" = lambda grid: grid,
    store: Store | None = None,
    again: "Plan | None" = None,
) -> "Plan":
    """The plan of a grid file; with the seeds of the last interim look if more may be added ``until_decided``.

    ``settings`` are ``path=value``, for every cell; ``adapt`` gives the grid that is planned instead of the file's;
    ``store`` has the runs that others may start from; ``again`` is a plan of before, of which all files are taken as
    they were then: the grid's, those of plugins and of grids that it starts from. Errors: InputError for anything that
    is wrong.
    """
    from ..grid.file import read_grid
    from ..grid.planner import make_plan
    from ..plugins import load_plugins
    from .controls import plan_controls, without
    from .sequential import planned_looks
    from .start import StartingRuns
    from .step_times import matches_time, read_step_times
    from .tuning import TunedGrid

    loaded = load_plugins(plugins) if again is None else again.plugins
    read = adapt(read_grid(grid) if again is None else again.grid)
    looks, most = planned_looks(read) if until_decided else (None, seeds)
    find_starts = None
    if store is not None:

        def plan_parent(file: Path, adapt: "Callable[[Grid], Grid]") -> "Plan":
            if file.resolve() == grid.resolve():
                raise InputError(f"{file.name} starts from itself")
            before = {Path(plan.grid.document.file).resolve(): plan for plan in again.parents} if again else {}
            return load_plan(file, (), None, plugins, adapt=adapt, store=store, again=before.get(file.resolve()))

        find_starts = StartingRuns(read, store, plan_parent)
    steps = read_step_times(read, store, settings) if store is not None and matches_time(read) else None
    tuned = None
    if read.config.tune is not None and store is not None:
        tuned = TunedGrid(
            read, lambda each: make_plan(each, settings, None, loaded, find_starts, step_seconds=steps), store
        )
    values = {} if tuned is None else tuned.values
    plan = make_plan(read, settings, most, loaded, find_starts, values, steps)

    def plan_control(each: "Grid", more: Mapping[str, Any]) -> "Plan":
        assignments = [f"{path}={json.dumps(value)}" for path, value in more.items()]
        kept = {cell: without(chosen, more) for cell, chosen in values.items()}  # or what was tuned would go over it
        return make_plan(each, [*settings, *assignments], None, loaded, find_starts, kept, steps)

    return replace(
        plan,
        controls=plan_controls(plan, plan_control),
        parents=() if find_starts is None else find_starts.plans,
        interim_looks=plan.interim_looks if looks is None else looks,
        tuning=None if tuned is None else tuned.of(plan),
        timed=steps is not None or not matches_time(read),
    )


def save_plan(
    plan: "Plan",
    store: Store,
    work: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    shorter: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """Write the manifest and the copy of the grid file; returns the manifest.

    ``work`` is what each cell costs at inference, by its label; ``settings`` are those of ``load_plan``; ``shorter``
    the finished runs that some still have to go on from, by the ids of these. All is of the files as they were planned.
    Of an earlier manifest the ``kept_looks`` remain. Errors: StorageError.
    """
    directory = store.grid_directory(plan.name)
    file, earlier = Path(plan.grid.document.file), earlier_manifest(directory)
    manifest = {
        **plan.manifest(),
        "file": relative(file, store.root),
        "sources": {
            str(source.resolve()): hashlib.sha256(content).hexdigest()
            for source, content in ((file, plan.grid.document.content), (plan.grid.base, plan.base))
        },
        "settings": list(settings),
        "interim_looks": kept_looks(plan, earlier),
        **({"shorter_runs": dict(shorter)} if shorter else {}),
    }
    manifest["preregistration"] = register(manifest, earlier, _n_ended(earlier, store))
    if work is not None:
        manifest["cells"] = [{**cell, "work": work.get(cell["label"])} for cell in manifest["cells"]]
    write_json(directory / "manifest.json", manifest)
    with replacing(directory / "grid.yaml", durable=False) as staged:
        staged.write_bytes(plan.grid.document.content)
    return manifest


def _n_ended(manifest: Manifest | None, store: Store) -> int:
    """How many of its runs were trained to their ends, and so may have been seen."""
    return 0 if manifest is None else sum(end.status in FINISHED for end in store.ends(run_ids(manifest)).values())


def load_manifest(
    grid: Path,
    store: Store,
    plugins: Sequence[Path] = (),
    settings: Sequence[str] = (),
    seeds: int | None = None,
) -> Manifest:
    """What the last ``ablate run`` of this grid compared; planned anew where it was never run or its file has changed.

    ``grid`` is a grid file, or the name of a grid in the store. Where ``settings`` or ``seeds`` are given, as for
    ``load_plan``, it is planned anew unless the last run had the same.
    """
    if not grid.is_file() and reason_no_folder(str(grid)) is None:
        manifest = read_manifest(store.root / grid)
        if manifest is not None:
            return manifest
    name = name_in_file(grid)
    manifest = read_manifest(store.root / name) if name else None
    if manifest is not None:
        sources = manifest["sources"]
        unchanged = str(grid.resolve()) in sources and sources == fingerprints([Path(file) for file in sources])
        same_settings = not settings or manifest.get("settings") == list(settings)
        if unchanged and same_settings and seeds in (None, len(manifest["seeds"])):
            return manifest
    plan = load_plan(grid, settings, seeds, plugins, store=store)
    own = manifest if manifest is None or owner(grid, manifest, store) is None else None
    planned = {**plan.manifest(), "interim_looks": kept_looks(plan, own)}
    return {**planned, "preregistration": register(planned, own, _n_ended(own, store))}


def kept_looks(plan: "Plan", earlier: Manifest | None) -> list[int]:
    """The interim looks of a plan: its own, or those planned earlier for cells that it still has.

    Looks that were planned once stay planned: a table of more seeds than the first look would else be judged as if
    there had been no look before. Where the baseline or all other cells have changed, nothing was looked at yet.
    """
    looks = earlier.get("interim_looks") if earlier else None
    if plan.interim_looks or not looks or not earlier:
        return list(plan.interim_looks)
    baseline, *others = [{run["id"] for run in cell["runs"]} for cell in earlier["cells"]]
    kept = {run.id for cell in plan.cells[1:] for run in cell.runs}
    same = any(run.id in baseline for run in plan.cells[0].runs) and any(ids & kept for ids in others)
    return list(looks) if same else []


def earlier_manifest(directory: Path) -> Manifest | None:
    """The manifest that is about to be written anew, None where it is absent or damaged."""
    try:
        return read_manifest(directory)
    except StorageError:
        return None


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest in a grid's folder, None where there is none. Errors: StorageError when it is damaged."""
    manifest: Manifest | None = read_checked(directory / "manifest.json", MANIFEST, MANIFEST_SCHEMA)
    return manifest


def name_of_own(grid: Path, store: Store) -> str | None:
    """The name of the grid that is meant by a file or a name.

    Errors: InputError where it is that of a file, and its folder is about another file of the same name.
    """
    name = name_of(grid, store)
    if grid.is_file() and name is not None and (manifest := earlier_manifest(store.root / name)) is not None:
        refuse_others(grid, manifest, store)
    return name


def names_with_parts(name: str, store: Store) -> set[str]:
    """The name of a grid, and of those that are run before it: its tuning, and grids of runs that it starts from."""
    found = {name}
    for other in grids_in(store):
        if other.startswith(f"{name}."):
            manifest = earlier_manifest(store.root / other) or {}
            file = store.root / manifest.get("file", "")
            if not file.is_file() or name_in_file(file) != other:  # else it is a grid of its own
                found.add(other)
    return found


def run_ids(manifest: Mapping[str, Any]) -> list[str]:
    """The ids of all runs, cell by cell."""
    return [run["id"] for cell in manifest["cells"] for run in cell["runs"]]


def refuse_undecided(manifest: Mapping[str, Any]) -> None:
    """Errors: InputError where the runs of a grid are not known yet, since they are tuned or matched in time first."""
    tuning = manifest.get("tuning")
    if tuning and not tuning["ended"]:
        what = "is not tuned yet, so that there is nothing to compare; `ablate run` goes on"
        raise InputError(f"{manifest['grid']} {what}, `ablate table {tuning['grid']}` shows what tunes it")
    if manifest.get("timed") is False:
        what = "is not matched in time yet, so that there is nothing to compare; `ablate run` goes on"
        raise InputError(f"{manifest['grid']} {what}")


def compare_runs(manifest: Mapping[str, Any], store: Store, metric: str | None = None) -> "Comparison":
    """The comparison of all runs of a manifest, as far as they are trained, by ``metric`` or the grid's own.

    Errors: InputError where no run has measured that metric; StorageError where a file of a run is damaged.
    """
    from ..compare.comparison import compare
    from ..compare.controls import compare_controls
    from .controls import results_of

    refuse_undecided(manifest)
    results = store.results(run_ids(manifest))
    known = {name for result in results.values() for name in result.metrics}
    if metric is not None and known and metric not in known:
        raise InputError(
            f"--metric {metric}: not measured; measured: {', '.join(sorted(known))}{nearest(metric, known)}"
        )
    comparison = compare(manifest, results, metric, _bench(manifest, store))
    controls = compare_controls(comparison, results_of(manifest, store))
    comparison = replace(comparison, declared_metric=manifest["metric"], controls=controls)
    return with_earlier_looks(comparison, store.grid_directory(manifest["grid"]))


def _bench(manifest: Mapping[str, Any], store: Store) -> dict[str, Any] | None:
    """What ``ablate bench`` wrote about this grid. Errors: StorageError when it is damaged."""
    file = store.grid_directory(manifest["grid"]) / "bench.json"
    bench: dict[str, Any] | None = read_checked(file, BENCH, BENCH_SCHEMA)
    return bench
