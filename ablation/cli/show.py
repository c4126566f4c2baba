"""``ablate show``: one run, its configuration, and which of its parameters decay."""

import json
from pathlib import Path

import typer

from .common import AsJson, Plugins, Runs, prints_aside
from .generate import RunName


def show(run: RunName, plugins: Plugins = [], runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """Show a run: its status, its configuration, and its parameters by role, with those that weight decay shrinks."""
    from ..store.runs import Store
    from ..study.description import describe_run

    with prints_aside():
        description = describe_run(Store(runs), run, plugins)
    if as_json:
        typer.echo(json.dumps(description))
        return
    from ..report import paging
    from ..report.description import render

    paging.show(render(description))
