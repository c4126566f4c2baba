"""``ablate stop``: cancel the Slurm jobs of a grid."""

from pathlib import Path

import typer

from .common import DONE, GridFile, Runs


def stop(grid: GridFile, runs: Runs = Path("runs")) -> int:
    """Cancel the Slurm jobs of a grid; its runs write checkpoints, from which `ablate run` goes on."""
    from ..launch.slurm_jobs import cancel
    from ..stats.contrast import plural
    from ..store.runs import Store
    from ..study.folder import name_of

    n_jobs = cancel(runs, name_of(grid, Store(runs)) or str(grid))
    typer.echo(f"{plural(n_jobs, 'job')} canceled." if n_jobs else "No job of this grid is queued or running.")
    return DONE
