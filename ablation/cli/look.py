"""Commands that look and train nothing."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InputError, nearest
from ..study.manifest import compare_runs, load_manifest, load_plan
from .arguments import AsJson, GridFile, Plugins, Runs, Seeds, Settings

Format = Literal["rich", "markdown", "latex", "csv", "json"]


def plan(
    grid: GridFile,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    seeds: Seeds = None,
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show the cells of a grid, what they cost and what is there already; train nothing."""
    from ..report.plan import outlook, render
    from ..store.runs import Store

    planned = load_plan(grid, settings, seeds, plugins)
    prospect = outlook(planned, Store(runs))
    if as_json:
        typer.echo(json.dumps(prospect))
    else:
        from rich.console import Console

        Console().print(render(prospect))


def table(
    grid: GridFile,
    format: Annotated[Format, typer.Option("--format", help="How to print it.")] = "rich",
    metric: Annotated[
        str | None, typer.Option("--metric", help="Compare by another metric than the task's own.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--sort", metavar="BY", help="label, difference, p, diverged or a measure; -BY turns it round."),
    ] = None,
    wanted: Annotated[
        str, typer.Option("--filter", metavar="WORDS", help="Only cells whose labels or levels have all these words.")
    ] = "",
    pivot: Annotated[
        str | None, typer.Option("--pivot", metavar="FACTOR", help="The levels of one factor as columns.")
    ] = None,
    by_length: Annotated[
        bool, typer.Option("--by-length", help="The measure at every length that was validated at.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw it as an SVG instead.")
    ] = None,
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Print the comparison table of a grid again; GRID is its file or its name."""
    from ..report import TEXT_FORMATS
    from ..report.render import crosstable, terminal
    from ..report.selection import select

    comparison = select(compare_runs(load_manifest(grid, runs, plugins), runs, metric), wanted.split(), order)
    if pivot is not None or by_length:
        crosstable.show(crosstable.lengths(comparison) if pivot is None else crosstable.pivot(comparison, pivot))
        return
    render = TEXT_FORMATS.get("json" if as_json else format)
    if picture is not None:
        try:
            picture.write_text(terminal.draw(comparison))
        except OSError as error:
            raise InputError(f"--picture {picture}: {error.strerror}") from None
    elif render is not None:
        typer.echo(render(comparison), nl=False)
    else:
        terminal.show(comparison)


def components(
    slot: Annotated[str | None, typer.Argument(metavar="[SLOT]", help="Only this slot.", show_default=False)] = None,
    readme: Annotated[
        Path | None, typer.Option("--readme", metavar="FILE", help="Bring the table in this Markdown file up to date.")
    ] = None,
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """List what can be ablated: every slot, its members, what they are, their source and hyper-parameters."""
    from ..plugins import load_plugins
    from ..report import components

    load_plugins(plugins)
    rows = components.rows()
    if slot is not None:
        slots = list(dict.fromkeys(row.slot for row in rows))
        if slot not in slots:
            raise InputError(f"{slot!r} is not a slot; allowed: {', '.join(slots)}{nearest(slot, slots)}")
        rows = [row for row in rows if row.slot == slot]
    if readme is not None:
        readme.write_text(components.insert(readme.read_text(), rows))
    elif as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows]))
    else:
        components.show(rows)


def schema(
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Of a baseline; the grid's goes beside it, as grid.NAME.")
    ] = Path("conf/schema.json"),
    plugins: Plugins = [],  # noqa: B006
) -> None:
    """Write the JSON schemas that editors check and complete base files and grids with."""
    from ..config.experiment import ExperimentConfig
    from ..grid.file import GridConfig
    from ..plugins import load_plugins

    load_plugins(plugins)
    for file, config in ((output, ExperimentConfig), (output.with_name(f"grid.{output.name}"), GridConfig)):
        text = json.dumps(config.model_json_schema(), indent=1, sort_keys=True)
        try:
            file.write_text(text + "\n")
        except OSError as error:
            raise InputError(f"--output {file}: {error.strerror}") from None
        typer.echo(file)
