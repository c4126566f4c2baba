"""``ablate status``: how far a grid has come."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..store.results import FINISHED
from ..study.manifest import load_manifest
from .arguments import AsJson, GridFile, Plugins, Runs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..compare.progress import GridProgress


def status(
    grid: GridFile,
    watch: Annotated[
        bool, typer.Option("--watch", help="Snapshot again every two seconds, until the end or Ctrl-C.")
    ] = False,
    plugins: Plugins = [],  # noqa: B006  typer hands in a list of its own
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show how far the runs of a grid have come, and their losses so far at equal tokens, marked as partial."""
    found = take_snapshot(load_manifest(grid, runs, plugins), runs)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
        return
    from rich.console import Console
    from rich.live import Live

    from ..report.live import EVERY

    console = Console()
    if not watch:
        console.print(render(found))
        return
    with Live(render(found, console.height), console=console, auto_refresh=False) as live:
        while not found.over:
            time.sleep(EVERY)
            found = take_snapshot(load_manifest(grid, runs, plugins), runs)
            live.update(render(found, console.height), refresh=True)
        live.update(render(found))


@dataclass(frozen=True)
class Snapshot:
    """A grid at one moment; ``states`` are those of the store, or "running", by the runs' ids."""

    manifest: Mapping[str, Any]
    states: Mapping[str, str]
    progress: "GridProgress"

    @property
    def over(self) -> bool:
        """Whether every run came to its end."""
        return all(state in FINISHED for state in self.states.values())

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        cells = []
        for cell, so_far in zip(self.manifest["cells"], self.progress.cells, strict=True):
            counts = Counter(self.states[run["id"]] for run in cell["runs"])
            cells.append({**asdict(so_far), "states": dict(counts)})
        return {
            "grid": self.manifest["grid"],
            "planned": len(self.states),
            "states": dict(Counter(self.states.values())),
            "partial": not self.over,
            "tokens": self.progress.tokens,
            "cells": cells,
        }


def take_snapshot(manifest: Mapping[str, Any], runs: Path) -> Snapshot:
    """The states of all runs, and every cell at equal tokens."""
    from ..compare.progress import METRIC, compare_progress, loss_line
    from ..store.results import read_rows
    from ..store.runs import Store

    store = Store(runs)
    states: dict[str, str] = {}
    lines = {}
    for run_id in (run["id"] for cell in manifest["cells"] for run in cell["runs"]):
        file = store.directory(run_id) / "metrics.jsonl"
        lines[run_id] = loss_line(read_rows(file, having=METRIC))
        state = store.status(run_id)
        states[run_id] = "running" if state == "missing" and file.exists() else state
    done = {run_id for run_id, state in states.items() if state in FINISHED}
    return Snapshot(manifest, states, compare_progress(manifest, lines, done))


def render(found: Snapshot, height: int | None = None) -> "RenderableType":
    """For a terminal of any width; within ``height`` lines where that is given."""
    from rich.console import Group
    from rich.text import Text

    from ..report.labels import plain
    from ..report.live import cell_progress, one_line

    said = ", ".join(f"{count} {state}" for state, count in sorted(Counter(found.states.values()).items()))
    heading = f"{plain(found.manifest['grid'])}: {len(found.states)} runs, {said}"
    if height is None:
        return Group(Text(heading, "bold"), Text(), *cell_progress(found.progress, found.over))
    return Group(one_line(heading, "bold"), Text(), *cell_progress(found.progress, found.over, height - 2))
