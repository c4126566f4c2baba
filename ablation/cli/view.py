"""``ablate view``: the dashboard of a grid - its workspace in W&B, or without a server the runs in `wandb leet`."""

import subprocess
import sys
from pathlib import Path
from shlex import quote

import typer

from .common import DONE, GridFile, Plugins, Runs, options_of, prints_aside


def view(grid: GridFile, plugins: Plugins = [], runs: Runs = Path("runs")) -> int:
    """Open the W&B workspace of a grid; where W&B is offline, its runs in the terminal (`wandb leet`)."""
    from ..api.study import Study
    from ..errors import InputError
    from ..study.manifest import run_ids
    from ..tracking.workspace import NAME, saved_address

    study = Study(grid, plugins=plugins, runs=runs)
    with prints_aside():
        folder = study.store.grid_directory(study.manifest["grid"])
    address = saved_address(folder)
    if address is not None:
        typer.echo(address)
        typer.launch(address)
        return DONE
    ids = set(run_ids(study.manifest))
    if not any(one.name.rpartition("-")[2] in ids for one in (runs / "wandb").glob("offline-run-*")):
        what = f"no {NAME} in {folder} and no offline runs of it in {runs / 'wandb'}"
        sync = " ".join(["ablate sync", quote(str(grid)), *filter(None, [options_of(runs)])])
        raise InputError(f"GRID {grid}: was not mirrored into W&B ({what}); `{sync}` does that")
    command = [sys.executable, "-m", "wandb", "leet", str((runs / "wandb").absolute())]
    if not sys.stdout.isatty():
        typer.echo(f"wandb leet {runs / 'wandb'}")
        return DONE
    return subprocess.run(command, check=False).returncode
