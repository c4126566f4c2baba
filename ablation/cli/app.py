"""All commands, in the order in which ``ablate --help`` lists them."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from .bench import bench
from .check import check
from .claim import claim
from .compare import compare
from .components import components
from .explain import explain
from .export import export
from .gc_ import gc_
from .generate import generate
from .grid import grid
from .import_ import import_
from .import_runs import import_runs
from .init import init
from .inspect_ import inspect_
from .interrupts import interrupts_named
from .list_ import list_
from .plan import plan
from .profile import profile
from .report import report
from .run import run
from .schema import schema
from .selftest import selftest
from .show import show
from .status import status
from .stop import stop
from .sync import sync
from .table import table
from .view import view

GROUPS: dict[str, dict[str, tuple[Callable[..., Any], str]]] = {
    "Write a study": {
        "init": (init, "Write a starter folder: a baseline and one grid"),
        "grid": (grid, "Write a grid file from what should vary, or by questions"),
        "plan": (plan, "Show the cells, their cost, and which runs are missing"),
        "import": (import_, "Write a baseline that starts from a checkpoint's weights"),
        "components": (components, "List what can be varied, with sources"),
        "schema": (schema, "Write the JSON schemas by which editors complete files"),
    },
    "Train it": {
        "run": (run, "Train the runs that are missing, then show the table"),
        "status": (status, "Show how far the runs are, and their losses so far"),
        "stop": (stop, "Cancel the Slurm jobs of a grid"),
        "claim": (claim, "Test a claim of the literature, or replicate it"),
    },
    "Read it": {
        "table": (table, "Print the comparison again, in many formats"),
        "report": (report, "Write a page with all figures and tests, or a W&B report"),
        "view": (view, "Open the dashboard: W&B, or `wandb leet` without a server"),
        "explain": (explain, "Say why a cell has its verdicts"),
        "compare": (compare, "Compare two studies cell by cell, and what else differs"),
        "inspect": (inspect_, "Look inside trained models: heads, knockouts"),
        "list": (list_, "List the grids in the folder of runs"),
        "show": (show, "Show one run: status, configuration, numbers"),
        "generate": (generate, "Have trained models continue a text"),
    },
    "Measure speed": {
        "bench": (bench, "Time the cells interleaved, apart from training"),
        "profile": (profile, "Time the parts of a step and of a decoded token"),
    },
    "Keep it": {
        "check": (check, "Check all runs: sha256, schemas, leftovers"),
        "gc": (gc_, "Delete runs that are in no grid, and leftovers"),
        "export": (export, "Write a grid and its runs into one file"),
        "import-runs": (import_runs, "Take in a grid and its runs from such a file"),
        "sync": (sync, "Replay the runs of a grid into W&B, and read them back"),
        "selftest": (selftest, "Test the verdicts where the truth is known"),
    },
}
"""By heading, the commands with what `ablate --help` says of each."""


class Commands(TyperGroup):
    """Lists the commands under their headings, each in one line of 80 columns."""

    def invoke(self, context: Any) -> Any:
        """Run a command."""
        with interrupts_named():
            return super().invoke(context)

    def format_commands(self, context: Any, formatter: Any) -> None:
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


app = typer.Typer(
    name="ablate",
    cls=Commands,
    help="Ablation studies of Transformers: write a grid, train what is missing, read what the evidence supports.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _commands in GROUPS.values():
    for _name, (_command, _text) in _commands.items():
        app.command(_name, short_help=_text)(_command)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    """The options before a command."""
    if version:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit
