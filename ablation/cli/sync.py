"""``ablate sync``: what training left on disk, replayed into W&B."""

from pathlib import Path

import typer

from .common import GridFile, Plugins, Runs, Seeds, Settings, message


def sync(
    grid: GridFile,
    settings: Settings = [],
    seeds: Seeds = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
) -> None:
    """Replay the runs of a grid into W&B: to the server if it is there, else as offline runs. Sends nothing twice."""
    from ..api import Study

    typer.echo(Study(grid, settings, seeds, plugins, runs).sync(message))
