"""``ablate status``: how far a grid has come."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import AsJson, GridFile, Plugins, Runs, prints_aside

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..study.status import Snapshot

Watch = Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until the end or Ctrl-C.")]


def status(
    grid: GridFile,
    watch: Watch = False,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show how far the runs of a grid have come, and their losses so far at equal tokens, marked as partial."""
    from rich.console import Console
    from rich.live import Live

    from ..api.study import Study
    from ..report import paging
    from ..report.live import EVERY
    from ..report.resizable import Frames

    study, console = Study(grid, plugins=plugins, runs=runs), Console()
    with prints_aside():
        snapshot = study.status()
    if as_json:
        typer.echo(json.dumps(snapshot.as_dict()))
    elif not watch:
        paging.show(render(snapshot), console)
    else:
        frames = Frames(console)
        with Live(frames.frame(render(snapshot, console.height)), console=console, auto_refresh=False) as live:
            while not snapshot.over:
                time.sleep(EVERY)
                snapshot = study.status()
                live.update(frames.frame(render(snapshot, console.height)), refresh=True)
            live.update(frames.frame(render(snapshot)))


def render(snapshot: "Snapshot", height: int | None = None) -> "RenderableType":
    """A snapshot for a terminal of any width; within ``height`` lines where that is given."""
    from rich.console import Group
    from rich.text import Text

    from ..report.labels import plain
    from ..report.live import cell_progress, one_line

    counts = ", ".join(f"{count} {status}" for status, count in sorted(Counter(snapshot.statuses.values()).items()))
    submitted = f"; {snapshot.submitted} submitted to Slurm" if snapshot.submitted else ""
    heading = f"{plain(snapshot.grid)}: {len(snapshot.statuses)} runs, {counts}{submitted}"
    if height is None:
        return Group(Text(heading, "bold"), Text(), *cell_progress(snapshot.progress, snapshot.over))
    return Group(one_line(heading, "bold"), Text(), *cell_progress(snapshot.progress, snapshot.over, height - 2))
