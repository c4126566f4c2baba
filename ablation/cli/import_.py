"""``ablate import``: a baseline that starts from a checkpoint of Hugging Face's libraries."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..config.bundled import conf
from .common import AsJson

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="With config.json, safetensors and tokenizer.json.", show_default=False),
]
Output = Annotated[
    Path,
    typer.Option("--output", metavar="FILE.yaml", help="The baseline to write; weights and tokenizer go beside it."),
]


def import_(checkpoint: Folder, output: Output, as_json: AsJson = False) -> None:
    """Write a baseline whose runs start from a checkpoint's weights; nothing is fetched from anywhere."""
    from ..checkpoints.baseline import import_baseline
    from ..config.layered import read_base
    from ..yaml import read

    base = read(conf() / "base.yaml").value
    imported = import_baseline(checkpoint, output, base, lambda file: read_base(file).build())
    if as_json:
        typer.echo(json.dumps(asdict(imported), default=str))
    else:
        typer.echo(f"{output}: {imported.checkpoint}, {imported.parameters:,} parameters")
        typer.echo(f"Now name it as the base of a grid: `base: {output.name}`")
