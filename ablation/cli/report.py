"""``ablate report``: one page that holds the whole evidence of a grid."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..study.manifest import compare_runs, load_manifest
from .arguments import AsJson, GridFile, Plugins, Runs


def report(
    grid: GridFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where the page goes; by default to the grid's folder in DIR."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write every figure there too, as SVG and PNG.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Compare by another metric than the task's own.")
    ] = None,
    plugins: Plugins = [],  # noqa: B006  typer hands in a list of its own
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a grid; GRID is its file or its name."""
    from ..report.html import figure, page
    from ..report.html.data import ReportData
    from ..store.files import unwritable

    manifest = load_manifest(grid, runs, plugins)
    material = ReportData(manifest, compare_runs(manifest, runs, metric), runs)
    file = output or runs / manifest["grid"] / "report.html"
    drawn = page.sections(material)
    text = page.render(material, drawn, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from None
    pictures: list[Path] = []
    if figures is not None:
        try:
            pictures = figure.write([figure for _, found in drawn for figure in found], figures)
        except OSError as error:
            raise unwritable(figures, error) from None
    if as_json:
        typer.echo(json.dumps({"grid": manifest["grid"], "file": str(file), "figures": [str(p) for p in pictures]}))
    else:
        typer.echo(file)
