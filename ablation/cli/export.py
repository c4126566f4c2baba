"""``ablate export``: a grid with its runs as one file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import AsJson, GridFile, Runs, existing_store, message

Output = Annotated[
    Path | None, typer.Option("--output", metavar="FILE.tar", help="The file to write; default: GRID.tar here.")
]


def export(grid: GridFile, output: Output = None, runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """Write a grid and its finished runs into one file, which `ablate import-runs` takes in elsewhere."""
    from ..report.numbers import short
    from ..stats.contrast import plural
    from ..store.archive import export_grid
    from ..study.manifest import name_of_own

    store = existing_store(runs)
    name = name_of_own(grid, store)
    if name is None:
        raise InputError(f"{grid}: it names no grid")
    exported = export_grid(store, name, output or Path(f"{name}.tar"))
    if as_json:
        typer.echo(json.dumps(asdict(exported), default=str))
        return
    typer.echo(f"{exported.file}: {exported.grid}, {plural(exported.runs, 'run')}, {short(exported.bytes)}B")
    if exported.not_trained:
        message(f"{plural(exported.not_trained, 'run')} not trained yet, so not in it.")
