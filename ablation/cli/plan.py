"""``ablate plan``: the cells of a grid, before anything is trained."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, GridFile, Plugins, Runs, Seeds, Settings, Workers, check_ending, working

if TYPE_CHECKING:
    from ..api.study import Study

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
    if save is not None:
        check_ending("--save", save, ".jsonl")  # by which `ablate run` knows it
    with working(grid):
        from ..api.study import Study
        from ..report import paging
        from ..report.plan import render

        described = _planned(Study(grid, settings, seeds, plugins, runs), workers, probed, save)
    if as_json:
        typer.echo(json.dumps(described, default=asdict))
    else:
        paging.show(render(described))


def _planned(study: "Study", workers: int | None, probed: bool, save: Path | None) -> dict[str, Any]:
    """What is said of the plan, which itself, ten thousand configurations, is not kept while that is printed."""
    from ..study.causality import cells_that_see_later_tokens
    from ..study.forecast import probe
    from ..study.inert import inert_cells
    from ..study.planned import describe

    planned = study.plan()
    if save is not None:
        study.save_plan(planned, save)
    measured = (probe(planned), inert_cells(planned), cells_that_see_later_tokens(planned)) if probed else ()
    return describe(planned, study.store, workers, *measured)
