"""``ablate init``: a folder to start from."""

from pathlib import Path
from typing import Annotated

import typer

from ..config.bundled import conf
from ..errors import InputError

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.", show_default=False)]


def init(directory: Directory) -> None:
    """Write a starter folder: the baseline, one grid, and the schemas that editors check them with."""
    files = {
        "base.yaml": (conf() / "base.yaml").read_text(encoding="utf-8"),
        "grid.yaml": (conf() / "grids" / "quickstart.yaml").read_text(encoding="utf-8").replace("../", ""),
        "schema.json": (conf() / "schema.json").read_text(encoding="utf-8"),
        "grid.schema.json": (conf() / "grid.schema.json").read_text(encoding="utf-8"),
    }
    existing = [name for name in files if (directory / name).exists()]
    if existing:
        raise InputError(f"{directory}: {existing[0]} is there already; name another folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror}; name a folder that can be written") from None
    typer.echo(f"{directory}: {', '.join(files)}\nNow: ablate run {directory / 'grid.yaml'}")
