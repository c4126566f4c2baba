"""``ablate run``: train what is missing of a grid and print the table."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from .common import (
    DONE,
    AsJson,
    GridFile,
    Plugins,
    Retry,
    Runs,
    Seeds,
    Settings,
    Workers,
    announce,
    exit_code,
    message,
    options_of,
    prints_aside,
    words,
)
from .streams import ClosedPipe

UntilDecided = Annotated[
    bool,
    typer.Option("--until-decided", help="Add seeds at the grid's interim looks (5, 8, 12), only where needed."),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="RUNS",
        min=1,
        help="With --until-decided: train at most this many runs; the first look is always trained.",
    ),
]
Launcher = Annotated[
    str,
    typer.Option("--launcher", metavar="NAME|FILE", help="Where to train: local, slurm, ray, or a file with settings."),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit to Slurm and return; the same command waits for the runs later.")
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Train the other runs even if the first three failed in the same way.")
]


def run(
    grid: GridFile,
    settings: Settings = [],
    seeds: Seeds = None,
    workers: Workers = None,
    retry: Retry = "",
    plugins: Plugins = [],
    until_decided: UntilDecided = False,
    budget: Budget = None,
    keep_going: KeepGoing = False,
    launcher: Launcher = "local",
    detach: Detach = False,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train the runs of a grid that are missing, with a live view, and print the comparison table.

    Ctrl-C stops; the same command goes on.
    """
    announce(grid)
    from rich.console import Console

    from ..api.study import Study
    from ..compare.records import Comparison
    from ..report.live import View
    from ..report.render import terminal
    from ..report.table import TableData
    from ..study.training import ignore

    console = Console(file=sys.stdout)
    height = console.height - 2 if console.is_terminal else None  # two lines are W&B's and the prompt's
    options = options_of(runs)
    layout = f"{console.width} {height} {console.color_system} {console.encoding} {console.no_color} {options}"
    shown: list[str] = []

    def show(comparison: Comparison) -> None:
        """Print the table, as soon as it can be known, and keep what follows below it."""
        shown[:] = terminal.texts(TableData.of(comparison), console, height, options)
        with suppress(ClosedPipe):  # the exit code is of the training, also where nobody reads the table
            console.file.write(shown[0])
            console.file.flush()

    study = Study(grid, settings, seeds, plugins, runs, launcher)
    retried = words("--retry", retry) if retry else []
    on_comparison = ignore if as_json or detach else show
    with prints_aside():
        summary = study.run(
            workers, retried, until_decided, budget, View, message, keep_going, detach, on_comparison=on_comparison
        )
    if detach and summary.missing:
        message(f"Left to {launcher}. `ablate status` shows how far they are; the same command waits for them.")
        return DONE
    with suppress(ClosedPipe):
        if as_json:
            typer.echo(json.dumps(summary.as_dict()))
            return exit_code(summary)
        kept = None if summary.last is None or console.legacy_windows else summary.last.table(layout)
        if kept is not None:
            shown[:] = kept
            console.file.write(shown[0])
        elif not shown:
            show(summary.comparison)
        if summary.last is not None and kept is None:
            summary.last.keep_table(layout, shown)
        if summary.tracking:
            typer.echo(summary.tracking)
        console.file.write(shown[1])
    return exit_code(summary)
