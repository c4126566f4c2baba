"""``ablate selftest``: is what the tool concludes true where the truth is known?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from .common import DONE, SOME_FAILED, AsJson

Quick = Annotated[bool, typer.Option("--quick", help="Fewer grids and wider bounds: a minute, not several.")]


def selftest(quick: Quick = False, as_json: AsJson = False) -> int:
    """Test the verdicts on synthetic grids whose truth is known; the exit code is 1 if a check fails."""
    from rich.console import Console
    from rich.table import Table

    from ..compare.selftest import tables_from_runs
    from ..stats.selftest import statistics

    with Console(stderr=True).status("testing on synthetic grids"):
        checks = [*statistics(quick), *tables_from_runs(quick)]
    passed = all(check.passed for check in checks)
    if as_json:
        typer.echo(json.dumps({"passed": passed, "checks": [asdict(check) for check in checks]}))
    else:
        table = Table("check", "what", "measured", "bound", "")
        for check in checks:
            outcome = "pass" if check.passed else "[bold red]fail[/]"
            table.add_row(check.letter, check.what, check.measured, check.bound, outcome)
        Console().print(table)
    return DONE if passed else SOME_FAILED
