"""Components from elsewhere: files named on the command line, and installed packages with an entry point."""

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path

from .errors import InputError, nearest, nearest_file
from .registry import REGISTRY

ENTRY_POINTS = "ablation.components"
PREFIX = "ablation_plugin_"
"""Of the names of the modules that plugin files become."""


@dataclass(frozen=True)
class Plugin:
    """A file that registered components, and the fingerprint of its text."""

    file: str
    sha256: str


def load_plugins(files: Iterable[Path]) -> tuple[Plugin, ...]:
    """Run the files and the installed entry points, then let the configuration know of what they registered.

    A file with the same text is run once per process. Errors: InputError, one line, when a file is not there, fails,
    or registers a name that is taken or a slot that only looks like one.
    """
    from .config.experiment import rebuild

    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            raise InputError(f"the installed {ENTRY_POINTS} {point.value}: {reason(error)}") from error
    loaded = tuple(_load(file) for file in files)
    rebuild()
    return loaded


def reason(error: BaseException) -> str:
    """What stopped foreign code, in one line; a ValueError speaks for itself, others are named with their line."""
    lines = [
        f" ({Path(frame.f_code.co_filename).name}:{line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(PREFIX)
    ]
    return _said(error) + (lines[-1] if lines and not isinstance(error, ValueError) else "")


def _said(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    first = message.splitlines()[0] if message else ""
    return first if first and isinstance(error, ValueError) else f"{type(error).__name__}: {first}".rstrip(": ")


def _load(file: Path) -> Plugin:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"--plugin {file}: there is no such file{nearest_file(file)}") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise InputError(f"--plugin {file}: {what}; a Python file is wanted") from None
    fingerprint = sha256(text).hexdigest()
    plugin = Plugin(str(file.resolve()), fingerprint)
    module_name = f"{PREFIX}{fingerprint[:16]}"
    if module_name in sys.modules:
        return plugin
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {file}: the name of a Python file ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    before = {slot: dict(members) for slot, members in REGISTRY.items()}
    try:
        spec.loader.exec_module(module)
        _refuse_misspelt_slots(set(REGISTRY) - set(before), before)
    except BaseException as error:
        del sys.modules[module_name]
        REGISTRY.clear()  # of what the file registered before it failed
        REGISTRY.update(before)
        if not isinstance(error, Exception | SystemExit):
            raise  # Ctrl-C
        raise InputError(f"{_place(file, module_name, error)}: {_said(error)}") from error
    return plugin


def _refuse_misspelt_slots(new: Iterable[str], known: Iterable[str]) -> None:
    for slot in new:
        if hint := nearest(slot, known):
            raise ValueError(f"there is no slot {slot!r}{hint}")


def _place(file: Path, module_name: str, error: BaseException) -> str:
    """The line of the file that failed, as far as it is known."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file.absolute():
        return f"{file}:{error.lineno}:{error.offset}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_globals.get("__name__") == module_name]
    return f"{file}:{lines[-1]}" if lines else str(file)
