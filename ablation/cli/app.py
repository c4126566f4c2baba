"""All commands, in the order in which they are met."""

from typing import Any

import typer

from . import bench, claim, explain, generate, import_, init, look, profile, report, run, selftest, status, sync

app = typer.Typer(
    name="ablate",
    help="Ablation studies of Transformers: write a grid, train what is missing, read what the evidence carries.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    init.init,
    run.run,
    look.plan,
    look.table,
    explain.explain,
    status.status,
    claim.claim,
    look.components,
    look.schema,
    generate.generate,
    sync.sync,
):
    app.command()(command)
app.command()(bench.bench)
app.command()(selftest.selftest)
app.command("import")(import_.import_)
app.command()(profile.profile)
app.command()(report.report)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    """What stands before a command."""
    if version:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit


__all__: list[Any] = ["app"]
