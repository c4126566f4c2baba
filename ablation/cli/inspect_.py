"""``ablate inspect``: inside trained models, over the seeds of a cell."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import complete
from .common import AsJson, Plugins, Runs, message, prints_aside, words

Name = Annotated[
    str,
    typer.Argument(
        metavar="GRID:CELL",
        help="A cell with all its seeds; a GRID for all its cells; or the id of a RUN.",
        show_default=False,
        autocompletion=complete.grids,
    ),
]
TextOption = Annotated[
    str | None,
    typer.Option("--text", metavar="TEXT", help="Show the attention on it, not on validation examples. A => B: pairs."),
]
Shown = Annotated[int, typer.Option("--shown", min=1, help="How many validation examples have maps.")]
Maps = Annotated[bool, typer.Option("--maps", help="Print the attention maps of the first example here, too.")]
Knockout = Annotated[
    Literal["mean", "zero", "resample"],
    typer.Option("--knockout", help="What takes a part's place: its mean, zeros, another example's."),
]
Parts = Annotated[
    str,
    typer.Option("--parts", metavar="LIST", help="What is knocked out: heads,sublayers,layers,positions,features."),
]
NoPruning = Annotated[bool, typer.Option("--no-pruning", help="Do not take out heads one after another.")]
Examples = Annotated[
    int | None, typer.Option("--examples", min=1, help="Only the first validation examples; default: all.")
]
Page = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Where the page goes; default: the grid's folder.")
]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Write every figure there too, as SVG and PNG.")
]


def inspect_(
    name: Name,
    text: TextOption = None,
    shown: Shown = 4,
    maps: Maps = False,
    knockout: Knockout = "mean",
    parts: Parts = "heads,sublayers,layers,positions",
    no_pruning: NoPruning = False,
    examples: Examples = None,
    output: Page = None,
    figures: Figures = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Look inside trained models: where heads attend, what they do, and what is lost without each part.

    Writes a page with interactive maps too.
    """
    from ..inspect.parts import FAMILIES
    from ..inspect.record import How

    families = [family for family in FAMILIES if family in words("--parts", parts, FAMILIES)]
    how = How(knockout, families, not no_pruning, examples)
    from rich.console import Console

    from ..api.inspected import inspect_models
    from ..report.inside import as_data
    from ..report.render.inside import render, render_maps

    with prints_aside():
        found = inspect_models(name, how, text, shown, plugins, runs, message)
    for run in found.stale:
        message(f"run {run[:12]} was trained with a different version of the code than this one")
    file, pictures = found.save_page(output, figures)
    if as_json:
        written = {"file": str(file) if file else None, "figures": [str(picture) for picture in pictures]}
        typer.echo(json.dumps(as_data(found.comparison) | written | ({"maps": found.maps} if maps else {})))
        return
    console = Console()
    console.print(render(found.comparison, console.width))
    if maps or text is not None:
        for cell in found.comparison.cells:
            console.print(render_maps(found.maps[cell.runs[0]][0], console.width))
    if file:
        typer.echo(file)
