"""``ablate sync``: what the training left on disk, replayed into W&B."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..study.manifest import load_plan
from .arguments import GridFile, Plugins, Runs, Seeds, Settings

if TYPE_CHECKING:
    from ..grid.plan import Plan
    from ..store.runs import Store
    from ..tracking.mirror import Mirror

SYNC_TIMEOUT = 24 * 3600.0
"""Seconds; a large grid over a slow line is worth the wait, and Ctrl-C ends it without harm."""


def sync(
    grid: GridFile,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    seeds: Seeds = None,
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
) -> None:
    """Replay the runs of a grid into W&B: to the server if it is there, else as offline runs. Sends nothing twice."""
    plan = load_plan(grid, settings, seeds, plugins)
    from ..store.runs import Store

    store = Store(runs)
    with store.lock():
        mirror = make_mirror(plan, store)
        mirror.start()
        mirror.close(SYNC_TIMEOUT)
    typer.echo(mirror.summary())


def make_mirror(plan: "Plan", store: "Store") -> "Mirror":
    """W&B's picture of all runs of the plan, those of earlier commands as well."""
    from ..config.layered import dump
    from ..tracking.mirror import Mirror
    from ..tracking.mode import resolve_mode
    from ..tracking.session import TrackedRun

    names = {factor.path: factor.name for factor in plan.grid.factors}
    tracked = [
        TrackedRun(
            id=run.id,
            directory=store.directory(run.id),
            name=f"{cell.label} seed={run.seed}",
            group=cell.label,
            tags=(plan.name,),
            config=dump(run.config),
            factors={names[path]: level.plain for path, level in cell.levels.items()},
        )
        for cell in plan.cells
        for run in cell.runs
    ]
    tracking = plan.runs[0].config.tracking
    mode = resolve_mode(tracking.mode, os.environ)
    return Mirror(tracked, store.root, tracking.project, mode, lambda line: typer.echo(line, err=True))
