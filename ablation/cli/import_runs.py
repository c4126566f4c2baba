"""``ablate import-runs``: a grid that somebody else has exported."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .common import AsJson, Runs, message

Archive = Annotated[Path, typer.Argument(metavar="FILE", help="What `ablate export` wrote.", show_default=False)]


def import_runs(archive: Archive, runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """Take in a grid and its runs from a file that `ablate export` wrote. What is there already stays."""
    from ..report.labels import plain
    from ..stats.contrast import plural
    from ..store.runs import Store
    from ..store.unpack import import_grid, read_index

    store = Store(runs)
    read_index(archive)  # before anything is created
    with store.lock():
        imported = import_grid(store, archive)
    for place in imported.set_aside:
        message(plain(f"{place}: a damaged run, which one from the archive has replaced"))
    for place in imported.conflicts:
        message(plain(f"{place}: has other numbers than the run that is here, which counts"))
    if as_json:
        typer.echo(json.dumps(asdict(imported), default=str))
        return
    there = f", {imported.present} already there" if imported.present else ""
    conflicts = f", {plural(len(imported.conflicts), 'conflict')}" if imported.conflicts else ""
    typer.echo(f"{imported.grid}: {plural(imported.imported, 'run')} imported{there}{conflicts}.")
    if imported.kept_folder:
        typer.echo(plain(f"{runs / imported.grid} was there already and is kept."))
    typer.echo(plain(f"`ablate table {imported.grid} --runs {runs}` prints its table."))
