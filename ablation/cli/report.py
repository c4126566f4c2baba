"""``ablate report``: one page that holds the whole evidence of a grid."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import AsJson, GridFile, Metric, Plugins, Runs, message, prints_aside

Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Where the page goes; by default to the grid's folder in DIR."),
]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Write every figure there too, as SVG, PNG and PDF.")
]
Paper = Annotated[bool, typer.Option("--paper", help="With --figures: PDF, 3.25 inches wide, text of 8 points.")]
Wandb = Annotated[bool, typer.Option("--wandb", help="Save a W&B report instead, and print its address.")]


def report(
    grid: GridFile,
    output: Output = None,
    figures: Figures = None,
    paper: Paper = False,
    wandb: Wandb = False,
    metric: Metric = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a grid; GRID is its file or its name."""
    from ..api.study import Study
    from ..report.html.page import write_page

    if paper and figures is None:
        raise InputError("--paper: is for figures; add --figures DIR")
    study = Study(grid, plugins=plugins, runs=runs)
    if wandb:
        typer.echo(study.save_report())
        return
    if output is None and not study.by_name:
        study.own_folder(message)
    with prints_aside():
        comparison, manifest = study.compare(metric), study.manifest
    file = output or study.store.grid_directory(comparison.grid) / "report.html"
    pictures = write_page(manifest, comparison, runs, file, figures, paper)
    if as_json:
        summary = {"grid": comparison.grid, "file": str(file), "figures": [str(picture) for picture in pictures]}
        typer.echo(json.dumps(summary))
    else:
        typer.echo(file)
