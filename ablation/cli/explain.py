"""``ablate explain``: what a verdict rests on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from . import complete
from .common import AsJson, GridFile, Plugins, Runs

CellName = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="Its label, or enough of it to know which.",
        show_default=False,
        autocompletion=complete.cells,
    ),
]


def explain(
    grid: GridFile, cell: CellName, plugins: Plugins = [], runs: Runs = Path("runs"), as_json: AsJson = False
) -> None:
    """Say why a cell has its verdicts: the numbers, the test, the correction, the margin and the sentence."""
    from ..api.study import Study
    from ..report import explain

    results = Study(grid, plugins=plugins, runs=runs).compare()
    reasons = explain.reasons(results, results.cell(cell))
    if as_json:
        typer.echo(json.dumps(reasons))
    else:
        explain.show(reasons)
