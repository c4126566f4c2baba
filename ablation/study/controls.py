"""Controls: runs whose outcome is known before, by which a study shows that its differences can be trusted.

An A/A arm is the baseline on other seeds, whose difference should be none; the determinism control trains one run of
the baseline twice, which should give the same numbers; a known-bad arm should be found worse. They are trained into a
folder of their own inside the grid's, and are no part of its tests.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..compare.controls import A_A, AGAIN, KNOWN_BAD
from ..errors import InputError
from ..store.grids import controls_root
from ..store.results import RunResult
from ..store.runs import Store

if TYPE_CHECKING:
    from ..grid.file import Grid
    from ..grid.plan import Cell, Plan

PlanGrid = Callable[["Grid", Mapping[str, Any]], "Plan"]


def plan_controls(plan: "Plan", plan_grid: "PlanGrid") -> "Plan | None":
    """The controls of a plan, each a cell; None where its grid asks for none.

    ``plan_grid`` plans a grid with further settings for every cell. Errors: InputError.
    """
    from ..grid.tuning import seeds_apart

    grid, asked = plan.grid, plan.grid.config.controls
    if asked is None:
        return None
    apart = {"tracking.mode": "disabled"}
    cells: list[Cell] = []
    if asked.a_a:
        seeds = seeds_apart("control seeds", len(plan.seeds), plan.seeds)
        config = grid.config.model_copy(update={"seeds": seeds})
        cells.append(replace(plan_grid(replace(grid, config=config), apart).cells[0], label=A_A))
    if asked.determinism:
        baseline = plan_grid(grid, apart).cells[0]
        cells.append(replace(baseline, label=AGAIN, runs=baseline.runs[:1]))
    if asked.known_bad:
        cells.append(replace(_known_bad(grid, {**apart, **asked.known_bad}, plan_grid), label=KNOWN_BAD))
    config = grid.config.model_copy(update={"name": f"{plan.name} (controls)"})
    return replace(plan, grid=replace(grid, config=config), cells=tuple(cells), parents=(), tuning=None, controls=None)


def _known_bad(grid: "Grid", settings: Mapping[str, Any], plan_grid: "PlanGrid") -> "Cell":
    try:
        return plan_grid(grid, settings).cells[0]
    except InputError as error:
        setting, _, what = str(error).partition(": ")
        path = setting.removeprefix("--set ")
        if path == setting or path not in settings:
            raise
        raise grid.document.error(("controls", "known_bad", path), what) from None


def without(chosen: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """What tuning chose, by path, but for what lies at or inside these paths."""
    return {each: value for each, value in chosen.items() if not any(f"{each}.".startswith(f"{p}.") for p in paths)}


def store_of(store: Store, grid: str) -> Store:
    """Where the controls of a grid are trained: apart, since one of them is a run that is there already."""
    return Store(controls_root(store.root, grid), starts=store)


def results_of(manifest: Mapping[str, Any], store: Store) -> dict[str, list[RunResult]]:
    """By the label of the control, its results in the order of its seeds; empty for a grid without controls."""
    controls: Mapping[str, list[str]] = manifest.get("controls") or {}
    if not controls:
        return {}
    found = store_of(store, manifest["grid"]).results(run for runs in controls.values() for run in runs)
    return {label: [found[run] for run in runs] for label, runs in controls.items()}
