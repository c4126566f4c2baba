"""The runs that other runs start from: ``start_from``, a baseline out of one's own runs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, nearest
from ..stats.contrast import plural
from ..store.files import damaged
from ..store.results import WEIGHTS, read_record
from ..store.runs import Store
from ..store.schemas import MANIFEST, MANIFEST_SCHEMA, read_checked

if TYPE_CHECKING:
    from ..grid.file import Grid
    from ..grid.plan import Plan, Run
    from ..grid.planner import StartingRun

PlanGrid = Callable[[Path, Callable[["Grid"], "Grid"]], "Plan"]
"""Plans a grid file after it was changed."""


class StartingRuns:
    """Finds the runs that ``start_from`` means, one for each seed.

    ``RUN``, an id or the first digits of one, is the same run for every seed. Of ``GRID:CELL``, the r-th seed starts
    from the r-th seed's run. GRID is the name of a grid that was run, or a grid file beside the one that is planned: it
    is then planned with the same seeds, as ``plans`` has it, to be trained first.
    """

    def __init__(self, grid: "Grid", store: Store, plan_grid: PlanGrid):
        self.folder, self.name = Path(grid.document.file).parent, grid.config.name
        self.store, self.plan_grid = store, plan_grid
        self._plans: dict[Path, Plan] = {}
        self._runs: dict[str, StartingRun] = {}
        self._labels: dict[Path, set[str]] = {}

    def __call__(self, name: str, seeds: Sequence[int]) -> "list[StartingRun]":
        """One run for each of the seeds. Errors: InputError, which does not name the key."""
        from ..grid.planner import StartingRun

        grid, colon, label = name.partition(":")
        if not colon:
            return [self._trained(self.store.find(name))] * len(seeds)
        file = self.folder / grid
        if file.is_file():
            plan = self._plan(file, seeds)
            cells = {cell.label: cell for cell in plan.cells}
            _check_label(name, label, cells)
            self._labels[file] |= {label, plan.cells[0].label}
            return [StartingRun(run.id, run.config) for run in cells[label].runs]
        manifest = read_checked(self.store.grid_directory(grid) / "manifest.json", MANIFEST, MANIFEST_SCHEMA)
        if manifest is None:
            raise InputError(f"no grid {grid!r} was run in {self.store.root}, and {file} is no file")
        ids = {cell["label"]: [run["id"] for run in cell["runs"]] for cell in manifest["cells"]}
        _check_label(name, label, ids)
        if len(ids[label]) < len(seeds):
            raise InputError(f"{name} has {len(ids[label])} seeds, fewer than the {len(seeds)} that start from them")
        return [self._trained(run_id) for run_id in ids[label][: len(seeds)]]

    @property
    def plans(self) -> "tuple[Plan, ...]":
        """The grids of files, with the cells that something starts from, and their baselines."""
        return tuple(
            replace(plan, cells=tuple(cell for cell in plan.cells if cell.label in self._labels[file]))
            for file, plan in self._plans.items()
        )

    def _plan(self, file: Path, seeds: Sequence[int]) -> "Plan":
        if file not in self._plans:
            name = f"{self.name}.{file.stem}"

            def adapt(grid: "Grid") -> "Grid":
                return replace(grid, config=grid.config.model_copy(update={"seeds": list(seeds), "name": name}))

            plan = self.plan_grid(file, adapt)
            if not all(cell.runs[0].config.training.save_weights for cell in plan.cells):
                raise InputError(f"{file.name} has training.save_weights: false, so that nothing can start from it")
            self._plans[file], self._labels[file] = plan, set()
        return self._plans[file]

    def _trained(self, run_id: str) -> "StartingRun":
        """A completed run that has weights; all of them are read to be checked, so once for all cells."""
        if run_id not in self._runs:
            self._runs[run_id] = self._read(run_id)
        return self._runs[run_id]

    def _read(self, run_id: str) -> "StartingRun":
        from ..config.layered import load
        from ..grid.planner import StartingRun
        from ..store.verify import check_weights

        directory, status = self.store.directory(run_id), self.store.status(run_id)
        if status != "completed":
            raise InputError(f"run {run_id[:12]}: {status}; only completed runs have weights")
        if not (directory / WEIGHTS).is_file():
            raise InputError(f"run {run_id[:12]}: its weights were not saved")
        check_weights(directory, run_id)
        record = read_record(directory / "run.json", run_id)
        if record is None:
            raise damaged(directory / "run.json", "it is gone")
        return StartingRun(run_id, load(record["config"]))


def _check_label(name: str, label: str, labels: Collection[str]) -> None:
    if label not in labels:
        raise InputError(f"{name}: no such cell; allowed: {', '.join(labels)}{nearest(label, labels)}")


def with_start(runs: "Sequence[Run]", store: Store) -> "tuple[list[Run], str]":
    """Those of ``runs`` whose weights to start from are there, and what to say of the others; empty without any."""
    starts = {run.config.start_from for run in runs if run.config.start_from}
    lacking = {start for start in starts if not (store.starts.directory(start) / WEIGHTS).exists()}
    ready = [run for run in runs if run.config.start_from not in lacking]
    if len(ready) == len(runs):
        return ready, ""
    first = min(lacking)
    what = f"the run that each starts from has no weights, such as {first[:10]}: {store.starts.status(first)}"
    return ready, f"{plural(len(runs) - len(ready), 'run')} cannot be trained: {what}"
