"""``ablate claim``: whether the runs of a grid bear out what its file claims."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .common import DONE, AsJson, Plugins, Runs, Settings, Workers, exit_code, message

ClaimFile = Annotated[Path, typer.Argument(metavar="FILE", help="A grid with a `claim`.", show_default=False)]


def claim(
    file: ClaimFile,
    settings: Settings = [],
    workers: Workers = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train what a claim needs and say whether it is supported, contradicted, or not resolved at this budget.

    Runs that failed leave what rests on them unresolved, and the exit code says so.
    """
    from ..api import Study
    from ..report import claim
    from ..report.live import View

    result, summary = Study(file, settings, plugins=plugins, runs=runs).claim(workers, View, message)
    if result is not None and as_json:
        typer.echo(json.dumps(asdict(result)))
    elif result is not None:
        claim.show(result)
    return DONE if summary is None else exit_code(summary)
