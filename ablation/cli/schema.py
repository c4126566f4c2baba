"""``ablate schema``: what editors check and complete the two kinds of files with."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .common import Plugins

Output = Annotated[
    Path, typer.Option("--output", metavar="FILE", help="Of a baseline; the grid's goes beside it, as grid.NAME.")
]


def schema(output: Output = Path("conf/schema.json"), plugins: Plugins = []) -> None:
    """Write the JSON schemas of base files and of grids, for editors."""
    from ..config.experiment import ExperimentConfig
    from ..grid.editor import grid_schema
    from ..plugins import load_plugins

    load_plugins(plugins)
    of_grids = output.with_name(f"grid.{output.name}")
    for file, content in ((output, ExperimentConfig.model_json_schema()), (of_grids, grid_schema())):
        text = json.dumps(content, indent=1, sort_keys=True)
        try:
            file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--output {file}: {error.strerror}") from None
        typer.echo(file)
