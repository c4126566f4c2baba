"""``ablate view``: the dashboard of a grid - its workspace in W&B, or without a server the runs in `wandb leet`."""

import subprocess
import sys
from pathlib import Path

import typer

from .common import DONE, GridFile, Plugins, Runs, prints_aside


def view(grid: GridFile, plugins: Plugins = [], runs: Runs = Path("runs")) -> int:
    """Open the W&B workspace of a grid; where W&B is offline, its runs in the terminal (`wandb leet`)."""
    from ..api.study import Study
    from ..errors import InputError
    from ..tracking.workspace import NAME, saved_address

    study = Study(grid, plugins=plugins, runs=runs)
    with prints_aside():
        folder = study.store.grid_directory(study.manifest["grid"])
    address = saved_address(folder)
    if address is not None:
        typer.echo(address)
        typer.launch(address)
        return DONE
    if not any((runs / "wandb").glob("offline-run-*")):
        what = f"no {NAME} in {folder} and no offline runs in {runs / 'wandb'}"
        raise InputError(f"GRID {grid}: was not mirrored into W&B ({what}); `ablate sync {grid}` does that")
    command = [sys.executable, "-m", "wandb", "leet", str((runs / "wandb").absolute())]
    if not sys.stdout.isatty():
        typer.echo(f"wandb leet {runs / 'wandb'}")
        return DONE
    return subprocess.run(command, check=False).returncode
