"""``ablate status``: how far a grid has come."""

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import AsJson, GridFile, Plugins, Runs
from .planning import load_manifest

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY = 2.0
"""Seconds between two looks."""


def status(
    grid: GridFile,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until the end or Ctrl-C.")
    ] = False,
    plugins: Plugins = [],  # noqa: B006  typer hands in a list of its own
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show how far the runs of a grid have come, and their losses so far at equal tokens, marked as partial."""
    manifest = load_manifest(grid, runs, plugins)
    if as_json:
        typer.echo(json.dumps(look(manifest, runs)))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    found = look(manifest, runs)
    if not watch:
        console.print(render(found))
        return
    with Live(render(found), console=console, auto_refresh=False) as live:
        while found["states"].get("completed", 0) + found["states"].get("diverged", 0) < found["planned"]:
            time.sleep(EVERY)
            found = look(load_manifest(grid, runs, plugins), runs)
            live.update(render(found), refresh=True)


def look(manifest: dict[str, Any], runs: Path) -> dict[str, Any]:
    """The states of all runs, and every cell at equal tokens, as plain data."""
    from ..analysis.partial import partial
    from ..analysis.rows import read_rows
    from ..store.runs import Store

    store = Store(runs)
    ids = [run["id"] for cell in manifest["cells"] for run in cell["runs"]]
    states = {run_id: store.state(run_id) for run_id in ids}
    rows = {run_id: read_rows(store.directory(run_id) / "metrics.jsonl") for run_id in ids}
    standing = partial(manifest, rows)
    begun = {run_id for run_id in ids if states[run_id] == "missing" and rows[run_id]}
    cells = []
    for cell, so_far in zip(manifest["cells"], standing.cells, strict=True):
        counts = Counter("begun" if run["id"] in begun else states[run["id"]] for run in cell["runs"])
        cells.append({**asdict(so_far), "planned": len(cell["runs"]), "states": dict(counts)})
    everything = Counter("begun" if run_id in begun else state for run_id, state in states.items())
    partly = any(state not in ("completed", "diverged") for state in states.values())
    return {
        "grid": manifest["grid"],
        "planned": len(ids),
        "states": dict(everything),
        "partial": partly,
        "tokens": standing.tokens,
        "cells": cells,
    }


def render(found: dict[str, Any]) -> "RenderableType":
    """For a terminal of any width."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from ..analysis.partial import PARTIAL
    from ..report.numbers import ABSENT, short
    from ..report.words import plain

    said = ", ".join(f"{count} {state}" for state, count in sorted(found["states"].items()))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold", ratio=1)
    heading = "loss" if found["tokens"] is None else f"loss at {short(found['tokens'])} tokens"
    for title in ("runs", heading, "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in found["cells"]:
        done = sum(count for state, count in cell["states"].items() if state in ("completed", "diverged"))
        loss = ABSENT if cell["loss"] is None else f"{cell['loss']:.4f}"
        difference = "" if cell["difference"] is None else f"{cell['difference']:+.4f}"
        table.add_row(Text(plain(cell["label"])), f"{done}/{cell['planned']}", loss, difference)
    notes = [Text(PARTIAL, style="yellow")] if found["partial"] and found["tokens"] is not None else []
    return Group(Text(f"{plain(found['grid'])}: {found['planned']} runs, {said}", style="bold"), Text(), table, *notes)
