"""``ablate selftest``: is what the tool concludes true where the truth is known?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ..errors import InputError
from .arguments import AsJson


def selftest(
    statistics: Annotated[bool, typer.Option("--statistics", help="Test the verdicts on synthetic grids.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer grids and wider bounds: seconds, not minutes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Test the tool's own conclusions on grids whose truth is known; exit 1 if a check fails."""
    if not statistics:
        raise InputError("selftest: say what to test; allowed: --statistics")
    from rich.console import Console

    from ..stats import selftest as checks

    console = Console(stderr=True)
    with console.status("testing on synthetic grids"):
        found = list(checks.statistics(quick))
    passed = all(check.passed for check in found)
    if as_json:
        typer.echo(json.dumps({"passed": passed, "checks": [asdict(check) for check in found]}))
    else:
        from rich.table import Table

        table = Table("check", "what", "measured", "bound", "")
        for check in found:
            outcome = "pass" if check.passed else "[bold red]fail[/]"
            table.add_row(check.letter, check.what, check.measured, check.bound, outcome)
        Console().print(table)
    if not passed:
        raise typer.Exit(1)
