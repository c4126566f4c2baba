"""``ablate explain``: what a verdict rests on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from . import complete
from .common import AsJson, GridFile, Plugins, Runs, prints_aside

CellName = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="The label of a cell, or an unambiguous part of it; or the label of a main effect or interaction.",
        show_default=False,
        autocompletion=complete.cells,
    ),
]


def explain(
    grid: GridFile, cell: CellName, plugins: Plugins = [], runs: Runs = Path("runs"), as_json: AsJson = False
) -> None:
    """Say why a cell has its verdicts: the numbers, the test, the correction, the margin and the sentence."""
    from ..api.study import Study
    from ..report import explain, labels

    with prints_aside():
        results = Study(grid, plugins=plugins, runs=runs).compare()
    effects = {labels.effect(effect): effect for effect in (*results.effects, *results.interactions)}
    if cell in effects:
        reasons, show = explain.reasons_of_effect(results, effects[cell]), explain.show_effect
    else:
        reasons, show = explain.reasons(results, results.cell(cell)), explain.show
    if as_json:
        typer.echo(json.dumps(reasons))
    else:
        show(reasons)
