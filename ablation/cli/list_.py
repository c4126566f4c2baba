"""``ablate list``: the grids in a folder of runs, and their runs."""

import json
from pathlib import Path
from typing import Annotated, get_args

import typer

from . import complete
from .common import AsJson, Runs, existing_store, options_of, words

Grid = Annotated[
    str | None,
    typer.Argument(
        metavar="[GRID]",
        help="The name of a grid, whose runs are listed.",
        show_default=False,
        autocompletion=complete.grid_names,
    ),
]
Status = Annotated[
    str | None, typer.Option("--status", metavar="STATES", help="Only runs of these states, separated by commas.")
]


def list_(grid: Grid = None, status: Status = None, runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """List the grids in the folder of runs with how far they are; with GRID or --status, run by run."""
    from ..report.labels import plain
    from ..stats.contrast import plural
    from ..store.results import RunStatus
    from ..store.runs import Store
    from ..study.listing import list_grids

    statuses = [] if status is None else words("--status", status, get_args(RunStatus))
    grids = list_grids(existing_store(runs) if options_of(runs) else Store(runs), grid, statuses)
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in grids]))
        return
    lines = []
    for each in grids:
        states = ", ".join(f"{count} {state}" for state, count in each.states.items()) or each.problem or "none"
        lines.append(f"{plain(each.name)}: {plural(len(each.runs), 'run')}, {plain(states)}")
        for run in each.runs if grid is not None or statuses else ():
            reason = f": {plain(run.reason)}" if run.reason else ""
            lines.append(f"  {run.id[:12]}  {run.status}  {plain(run.cell)}, seed {run.seed}{reason}")
    none = f"no run of {grid or runs} is {' or '.join(statuses)}" if statuses else f"no grids in {runs}"
    typer.echo("\n".join(lines) or none)
