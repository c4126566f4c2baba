"""Components from elsewhere: files named on the command line, and installed packages with an entry point."""

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path

from .errors import InputError

ENTRY_POINTS = "ablation.components"


@dataclass(frozen=True)
class Plugin:
    """A file that registered components, and the fingerprint of its text."""

    file: str
    sha256: str


def load_plugins(files: Iterable[Path]) -> tuple[Plugin, ...]:
    """Run the files and the installed entry points, then let the configuration know of what they registered.

    A file with the same text is run once per process. Errors: InputError, one line, when a file is not there, fails
    or registers a name that is taken.
    """
    from .config import rebuild

    for point in entry_points(group=ENTRY_POINTS):
        point.load()
    loaded = tuple(_load(file) for file in files)
    rebuild()
    return loaded


def _load(file: Path) -> Plugin:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(f"--plugin {file}: {error.strerror}; a Python file is wanted") from None
    fingerprint = sha256(text).hexdigest()
    plugin = Plugin(str(file.resolve()), fingerprint)
    module_name = f"ablation_plugin_{fingerprint[:16]}"
    if module_name in sys.modules:
        return plugin
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        line = next(
            (f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == str(file)), ""
        )
        raise InputError(
            f"{file}:{line}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    return plugin
