"""``ablate plan``: the cells of a grid, before anything is trained."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import AsJson, GridFile, Plugins, Runs, Seeds, Settings, Workers, working

Save = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE.jsonl", help="Write the runs, one per line, for `ablate run FILE.jsonl`."),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe", help="Try a few steps of every cell: its time, levels without effect, later tokens that it sees."
    ),
]


def plan(
    grid: GridFile,
    settings: Settings = [],
    seeds: Seeds = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    workers: Workers = None,
    probed: Probe = False,
    save: Save = None,
    as_json: AsJson = False,
) -> None:
    """Show the cells of a grid, what they cost and what is there already; train nothing."""
    with working(grid):
        from ..api.study import Study
        from ..report import paging
        from ..report.plan import render
        from ..study.causality import cells_that_see_later_tokens
        from ..study.forecast import probe
        from ..study.inert import inert_cells
        from ..study.planned import describe

        study = Study(grid, settings, seeds, plugins, runs)
        planned = study.plan()
        if save is not None:
            study.save_plan(planned, save)
        measured = (probe(planned), inert_cells(planned), cells_that_see_later_tokens(planned)) if probed else ()
        described = describe(planned, study.store, workers, *measured)
    if as_json:
        typer.echo(json.dumps(described))
    else:
        paging.show(render(described))
