"""``ablate claim``: whether the runs of a grid bear out what its file claims."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import (
    DONE,
    SOME_FAILED,
    AsJson,
    Plugins,
    Retry,
    Runs,
    Settings,
    Workers,
    exit_code,
    message,
    prints_aside,
    words,
)

ClaimFile = Annotated[
    Path, typer.Argument(metavar="CLAIM", help="A grid file with a `claim`, or a claim's name.", show_default=False)
]
Fresh = Annotated[
    int | None,
    typer.Option("--fresh", metavar="SEED", min=0, help="On other seeds, derived from this one: a replication."),
]

Figures = Annotated[
    Path | None,
    typer.Option("--figures", metavar="DIR", help="Write the answer there as a picture: claim.svg, PNG and PDF."),
]


def claim(
    file: ClaimFile,
    fresh: Fresh = None,
    settings: Settings = [],
    workers: Workers = None,
    retry: Retry = "",
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    figures: Figures = None,
    as_json: AsJson = False,
) -> int:
    """Train what a claim needs and say whether it is supported, contradicted, or not resolved at this budget.

    Runs that failed leave what rests on them unresolved, and the exit code says so. A file that was chosen on its own
    seeds, or searched for one arm more than for another, is refused.
    """
    from ..api.study import Study
    from ..bench.processes import ProcessError
    from ..report import claim
    from ..report.live import View

    try:
        with prints_aside():
            study, retried = Study(file, settings, plugins=plugins, runs=runs), words("--retry", retry) if retry else []
            result, summary = study.claim(workers, View, message, fresh, retried)
    except ProcessError as error:
        message(f"ablate: {error}; there is no answer")
        return SOME_FAILED
    if result is not None and figures is not None:
        from ..report.html.claim import claim_figure
        from ..report.html.figure import write

        figure = claim_figure(result)
        try:
            write([figure] if figure is not None else [], figures)
        except OSError as error:
            raise InputError(f"--figures {figures}: {error.strerror}") from None
    if result is not None and as_json:
        typer.echo(json.dumps(asdict(result)))
    elif result is not None:
        claim.show(result)
    return DONE if summary is None else exit_code(summary)
