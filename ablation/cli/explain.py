"""``ablate explain``: what a verdict rests on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, nearest
from ..study.manifest import compare_runs, load_manifest
from .arguments import AsJson, GridFile, Plugins, Runs

if TYPE_CHECKING:
    from ..compare.records import CellComparison, Comparison


def explain(
    grid: GridFile,
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="Its label, or enough of it to know which.", show_default=False)
    ],
    plugins: Plugins = [],  # noqa: B006  typer hands in a list of its own
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say why a cell has its verdicts: the numbers, the test, the correction, the margin and the sentence."""
    from ..report import explain

    comparison = compare_runs(load_manifest(grid, runs, plugins), runs)
    found = explain.reasons(comparison, find(comparison, cell))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        explain.show(found)


def find(comparison: "Comparison", wanted: str) -> "CellComparison":
    """The cell of that label, or the only one whose label has all these words. Errors: InputError."""
    labels = {cell.label: cell for cell in comparison.cells[1:]}
    if wanted in labels:
        return labels[wanted]
    if wanted == comparison.baseline.label:
        raise InputError(f"{wanted!r} is the baseline, which is compared with nothing; name another cell")
    having: list[Any] = [cell for label, cell in labels.items() if set(wanted.split()) <= set(label.split())]
    if len(having) != 1:
        what = "is not a cell" if not having else f"could be {len(having)} cells"
        raise InputError(f"{wanted!r} {what}; cells: {'; '.join(labels)}{nearest(wanted, labels)}")
    return having[0]
