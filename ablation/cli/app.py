"""All commands, in the order in which ``ablate --help`` lists them."""

import typer

from .bench import bench
from .check import check
from .claim import claim
from .components import components
from .explain import explain
from .export import export
from .gc_ import gc_
from .generate import generate
from .grid import grid
from .import_ import import_
from .import_runs import import_runs
from .init import init
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

app = typer.Typer(
    name="ablate",
    help="Ablation studies of Transformers: write a grid, train what is missing, read what the evidence supports.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(init)
app.command()(grid)
app.command()(run)
app.command()(stop)
app.command()(plan)
app.command()(table)
app.command()(report)
app.command()(explain)
app.command()(status)
app.command("list")(list_)
app.command()(show)
app.command()(check)
app.command("gc")(gc_)
app.command()(export)
app.command("import-runs")(import_runs)
app.command()(claim)
app.command()(components)
app.command()(schema)
app.command()(generate)
app.command()(bench)
app.command()(profile)
app.command("import")(import_)
app.command()(sync)
app.command()(selftest)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    """The options before a command."""
    if version:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit
