"""``ablate init``: a folder to start from."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from ..config.bundled import conf
from ..errors import InputError

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.", show_default=False)]

FILES = {
    "README.md": "init/README.md",
    "base.yaml": "base.yaml",
    "grid.yaml": "grids/quickstart.yaml",
    "own_position.py": "init/own_position.py",
    "test_own_position.py": "init/test_own_position.py",
    "own_position.yaml": "init/own_position.yaml",
    "schema.json": "schema.json",
    "grid.schema.json": "grid.schema.json",
    ".gitignore": "init/gitignore",
}
"""The files of the folder, and what in ``conf/`` they are copies of."""
KEPT = ("README.md", ".gitignore")
"""Those that a repository may have already."""


def init(directory: Directory) -> None:
    """Write a starter folder: the baseline, a grid, a component of your own with its test, and schemas for editors."""
    existing = [name for name in FILES if (directory / name).exists()]
    if others := [name for name in existing if name not in KEPT]:
        raise InputError(f"{directory}: {others[0]} already exists; name another folder")
    written = [name for name in FILES if name not in existing]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in written:
            text = (conf() / FILES[name]).read_text(encoding="utf-8")
            (directory / name).write_text(text.replace("=../", "=").replace(": ../", ": "), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror}; name a folder that can be written") from None
    kept = f"\nKept as it is: {', '.join(existing)}" if existing else ""
    typer.echo(f"{directory}: {', '.join(written)}{kept}\nNow: ablate run {quote(str(directory / 'grid.yaml'))}")
