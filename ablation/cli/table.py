"""``ablate table``: the comparison table of a grid, from what its runs left on disk."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InputError
from . import complete
from .common import AsJson, GridFile, Metric, Plugins, Runs, check_ending, options_of, words, working

Format = Annotated[
    Literal["rich", "markdown", "latex", "csv", "json"], typer.Option("--format", help="How to print it.")
]
Sort = Annotated[
    str | None, typer.Option("--sort", metavar="BY", help="label, difference, p, diverged or a measure; -BY: reversed.")
]
Filter = Annotated[
    str, typer.Option("--filter", metavar="WORDS", help="Only cells whose labels or levels have all these words.")
]
Pivot = Annotated[
    str | None,
    typer.Option(
        "--pivot", metavar="FACTOR", help="The levels of one factor as columns.", autocompletion=complete.factors
    ),
]
Columns = Annotated[
    str, typer.Option("--columns", metavar="MEASURES", help="Only these, separated by commas: loss,parameters,runs.")
]
ByLength = Annotated[bool, typer.Option("--by-length", help="The metric at every length of validation.")]
BySet = Annotated[bool, typer.Option("--by-set", help="The metric on every named validation and test set.")]
Picture = Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="Draw it as an SVG instead.")]


def table(
    grid: GridFile,
    format: Format = "rich",
    metric: Metric = None,
    sort: Sort = None,
    filter: Filter = "",
    pivot: Pivot = None,
    by_length: ByLength = False,
    by_set: BySet = False,
    columns: Columns = "",
    picture: Picture = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Print the comparison table of a grid again; GRID is its file or its name."""
    with working(grid):
        from rich.console import Console

        from ..api.study import Study
        from ..report.paging import page
        from ..report.render import crosstable, terminal
        from ..report.table import TableData

        results = Study(grid, plugins=plugins, runs=runs).compare(metric).select(filter.split(), sort)
    names = words("--columns", columns) if columns else []
    if names and (by_set or by_length or pivot is not None):
        raise InputError("--columns: a cross table has one measure, which --metric chooses; remove it")
    if by_set:
        crosstable.show(crosstable.sets(results))
    elif pivot is not None or by_length:
        crosstable.show(crosstable.lengths(results) if pivot is None else crosstable.pivot(results, pivot))
    elif picture is not None:
        check_ending("--picture", picture, ".svg")
        try:
            picture.write_text(terminal.draw(TableData.of(results, names)), encoding="utf-8")
        except OSError as error:
            raise InputError(f"--picture {picture}: {error.strerror}") from None
    elif as_json or format != "rich":
        typer.echo(results.table("json" if as_json else format, names), nl=False)
    else:
        console = Console()
        texts = terminal.texts(TableData.of(results, names), console, options=options_of(runs))
        page("".join(texts), console)
