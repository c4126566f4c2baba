"""``ablate init``: a folder to start from."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError

PACKAGE = Path(__file__).parent.parent

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.", show_default=False)]


def conf() -> Path:
    """The folder of configurations that comes with the package: inside it in a wheel, beside it in a clone."""
    return next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())


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
