"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

GridFile = Annotated[Path, typer.Argument(metavar="GRID", help="The grid's YAML file.", show_default=False)]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")]
Plugins = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE", help="A Python file that registers components; repeatable.")
]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Lay a value over the file's, for every cell; repeatable."),
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="How many replicates, instead of the file's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
