"""``ablate stop``: cancel what a grid has left to Slurm."""

from pathlib import Path

import typer

from .common import DONE, GridFile, Runs


def stop(grid: GridFile, runs: Runs = Path("runs")) -> int:
    """Cancel the Slurm jobs of a grid; its runs write checkpoints, from which `ablate run` goes on."""
    from ..launch.slurm_jobs import cancel
    from ..stats.contrast import plural
    from ..store.runs import Store
    from ..study.folder import name_of

    n_cancelled = cancel(runs, name_of(grid, Store(runs)) or str(grid))
    typer.echo(
        f"{plural(n_cancelled, 'job')} cancelled." if n_cancelled else "No job of this grid is queued or running."
    )
    return DONE
