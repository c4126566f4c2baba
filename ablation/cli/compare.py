"""``ablate compare``: two studies, or one study at two versions of the code, cell by cell."""

from pathlib import Path
from typing import Annotated

import typer

from . import complete
from .common import AsJson, Metric, Runs
from .table import Format

StudyA = Annotated[
    Path,
    typer.Argument(
        metavar="A",
        help="A grid: its name, its file, or its folder.",
        show_default=False,
        autocompletion=complete.grids,
    ),
]
StudyB = Annotated[
    Path,
    typer.Argument(
        metavar="B",
        help="Another one, also of the same name in another folder of runs.",
        show_default=False,
        autocompletion=complete.grids,
    ),
]


def compare(
    a: StudyA,
    b: StudyB,
    format: Format = "rich",
    metric: Metric = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Compare two studies: of each cell that both have, B minus A by seed, and what else differs between them.

    Cells are matched by their settings. A and B are names of grids in the folder of runs, or folders such as
    `runs/study` and `runs-new/study` for one study at two versions of the code.
    """
    from ..api.two_studies import StudyComparison
    from ..report.render import terminal
    from ..report.two_studies import sections
    from ..study.two_studies import compare_folders, find_folder

    result = StudyComparison.of(compare_folders(find_folder(a, runs), find_folder(b, runs), metric))
    if as_json or format != "rich":
        typer.echo(result.table("json" if as_json else format), nl=False)
    else:
        terminal.show_sections(sections(result))
