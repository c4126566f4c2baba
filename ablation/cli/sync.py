"""``ablate sync``: what training left on disk, replayed into W&B."""

import json
from pathlib import Path

import typer

from .common import DONE, SOME_FAILED, AsJson, GridFile, Plugins, Runs, Seeds, Settings, message, prints_aside


def sync(
    grid: GridFile,
    settings: Settings = [],
    seeds: Seeds = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Replay the runs of a grid into W&B: to the server if it is there, else as offline runs. Sends nothing twice.

    Then all rows and summaries are read back; the exit code is 1 where any is missing, and a line says of which run.
    """
    from ..api.study import Study

    with prints_aside():
        done = Study(grid, settings, seeds, plugins, runs).sync(message)
    if as_json:
        typer.echo(json.dumps({"complete": done.complete, "incomplete": dict(done.incomplete), "line": done.line}))
    else:
        typer.echo(done.line)
    return SOME_FAILED if done.incomplete else DONE
