"""``ablate stop``: cancel the Slurm jobs of a grid."""

from pathlib import Path

import typer

from ..errors import InputError
from .common import DONE, GridFile, Runs


def stop(grid: GridFile, runs: Runs = Path("runs")) -> int:
    """Cancel the Slurm jobs of a grid; its runs write checkpoints, from which `ablate run` goes on."""
    from ..launch.slurm_jobs import cancel
    from ..stats.contrast import plural
    from ..store.grids import controls_root
    from ..study.manifest import name_of_own, names_with_parts
    from ..study.study import Study

    study = Study(grid, runs=runs)
    name = name_of_own(study.grid, study.store)
    if name is None:
        raise InputError(f"{grid}: it names no grid")
    n_jobs = cancel(runs, names_with_parts(name, study.store)) + cancel(controls_root(runs, name))
    if not n_jobs and not study.store.grid_directory(name).is_dir():
        raise InputError(f"{grid}: this grid was never run in {runs}")
    typer.echo(f"{plural(n_jobs, 'job')} canceled." if n_jobs else "No job of this grid is queued or running.")
    return DONE
