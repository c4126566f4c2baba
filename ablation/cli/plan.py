"""``ablate plan``: the cells of a grid, before anything is trained."""

import json
from pathlib import Path

import typer

from .common import AsJson, GridFile, Plugins, Runs, Seeds, Settings


def plan(
    grid: GridFile,
    settings: Settings = [],
    seeds: Seeds = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show the cells of a grid, what they cost and what is there already; train nothing."""
    from rich.console import Console

    from ..api import Study
    from ..report.plan import describe, render

    study = Study(grid, settings, seeds, plugins, runs)
    described = describe(study.plan(), study.store)
    if as_json:
        typer.echo(json.dumps(described))
    else:
        Console().print(render(described))
