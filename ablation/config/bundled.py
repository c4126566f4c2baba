"""The baselines, grids and claims that come with the package, found by name: ``base: gpt2``, ``ablate run quickstart``.

In a clone they are in ``conf/``, in a wheel in ``ablation/conf/``. The folder can also be named where it is not:
``conf/base.yaml`` in a folder without a ``conf/`` is that of the package.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import InputError, nearest, nearest_file

_PACKAGE = Path(__file__).parent.parent
_NAME = re.compile(r"[\w-]+")

BASELINES: Mapping[str, str] = MappingProxyType({"baselines": ".", "models": "models"})
GRIDS: Mapping[str, str] = MappingProxyType({"grids": "grids", "claims": "claims"})
"""What can be meant: the folders in ``conf/``, by how an error calls what is in them."""


def conf() -> Path:
    """The folder of configurations that comes with the package."""
    return next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())


def names(folder: str) -> dict[str, Path]:
    """The files of one folder in ``conf/``, by their names."""
    return {file.stem: file for file in sorted((conf() / folder).glob("*.yaml"))}


def find(
    written: Path, folders: Mapping[str, str], relative_to: Path | None = None, others: Collection[str] = ()
) -> Path:
    """The file that is meant by a path or by a name: a file that exists, else one of that name in these folders.

    A path is returned as it is even where no file is there, as whoever reads it says; so is one of the ``others``,
    which are known elsewhere. Errors: InputError for a name that nothing has.
    """
    file = written if relative_to is None else relative_to / written
    if os.path.isfile(file):  # noqa: PTH113 - which is false of what cannot be a name
        return file
    known = {name: found for folder in folders.values() for name, found in names(folder).items()}
    if str(written) in known:
        return known[str(written)]
    if written.parts[:1] == ("conf",) and (packaged := conf().joinpath(*written.parts[1:])).is_file():
        return packaged
    if not _NAME.fullmatch(str(written)) or os.path.exists(file) or str(written) in others:  # noqa: PTH110
        return file
    offered = {"in the folder of runs": list(others)} if others else {}
    offered |= {kind: list(names(folder)) for kind, folder in folders.items()}
    listed = "; ".join(f"{kind}: {', '.join(each)}" for kind, each in offered.items())
    hint = nearest(str(written), [*others, *known]) or nearest_file(file, ".yaml")
    raise InputError(f"{written}: there is no such file or name; {listed}{hint}")
