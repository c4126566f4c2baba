"""Plugins: components from files named on the command line and from installed packages with an entry point."""

import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType

from .config.experiment import rebuild
from .errors import InputError, nearest, nearest_file
from .registry import REGISTRY

ENTRY_POINTS = "ablation.components"
PREFIX = "ablation_plugin_"
"""Prefix of the module names under which plugin files are imported."""


@dataclass(frozen=True)
class Plugin:
    """A file that registers components, and the hash of its content."""

    file: str
    sha256: str
    source: bytes = field(default=b"", repr=False, compare=False)
    """What was run."""


class _Source(importlib.abc.SourceLoader):
    """Runs what was read, under the name of its file, which may be another by now, or on another machine."""

    def __init__(self, file: Path, content: bytes):
        self.file, self.content = file, content

    def get_filename(self, fullname: str) -> str:
        return str(self.file)

    def get_data(self, path: str | bytes) -> bytes:
        return self.content


def load_plugins(files: Iterable[Path]) -> tuple[Plugin, ...]:
    """Run the files and the installed entry points, so that the configuration accepts the components they register.

    A file with the same content runs once per process. Errors: InputError, one line, when a file does not exist, fails,
    or registers a name that is taken or a slot whose name is a misspelling of another.
    """
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            entry_point.load()
        except Exception as error:
            raise InputError(f"the installed {ENTRY_POINTS} {entry_point.value}: {reason(error)}") from error
    loaded = tuple(_load(file, _read(file)) for file in files)
    rebuild()
    return loaded


def load_copies(copies: Iterable[tuple[Plugin, Path]]) -> None:
    """Run plugins from copies of their files. Errors: InputError, also where a copy is not what was copied."""
    load_plugins(())
    for plugin, copy in copies:
        content = _read(copy)
        if sha256(content).hexdigest() != plugin.sha256:
            raise InputError(f"{copy}: damaged: not the copy of {plugin.file} that the grid was started with")
        _load(Path(plugin.file), content)
    rebuild()


def reason(error: BaseException) -> str:
    """An error from a component or a plugin, in one line.

    The message of a ValueError is meant for the user; any other error is shown with its type and the plugin's line.
    """
    lines = lines_of_plugins(traceback.walk_tb(error.__traceback__))
    return _message(error) + (f" ({Path(lines[-1]).name})" if lines and not isinstance(error, ValueError) else "")


def lines_of_plugins(frames: Iterable[tuple[FrameType, int]]) -> list[str]:
    """``file:line`` of those frames that are of plugins."""
    return [f"{frame.f_code.co_filename}:{line}" for frame, line in frames_of_plugins(frames)]


def frames_of_plugins(frames: Iterable[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Those frames that run code of plugins: of files, or of packages that have registered components."""
    classes = [config.component for members in REGISTRY.values() for config in members.values()]
    packages = {component.__module__.partition(".")[0] for component in classes} - {__package__}

    def is_of_plugin(module: str) -> bool:
        return module.startswith(PREFIX) or module.partition(".")[0] in packages

    return [(frame, line) for frame, line in frames if is_of_plugin(str(frame.f_globals.get("__name__")))]


def _message(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    first_line = message.splitlines()[0] if message else ""
    if first_line and isinstance(error, ValueError):
        return first_line
    return f"{type(error).__name__}: {first_line}".rstrip(": ")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"--plugin {file}: there is no such file{nearest_file(file)}") from None
    except (OSError, ValueError) as error:
        message = getattr(error, "strerror", None) or error
        raise InputError(f"--plugin {file}: {message}; expected a Python file") from None


def _load(file: Path, content: bytes) -> Plugin:
    """Run one file. What it registered is undone if it fails."""
    fingerprint = sha256(content).hexdigest()
    plugin = Plugin(str(file.resolve()), fingerprint, content)
    module_name = f"{PREFIX}{fingerprint[:16]}"
    if module_name in sys.modules:
        return plugin
    spec = importlib.util.spec_from_loader(module_name, _Source(file.absolute(), content))
    if file.suffix != ".py" or spec is None or spec.loader is None:
        raise InputError(f"--plugin {file}: the name of a Python file must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    before = {slot: dict(members) for slot, members in REGISTRY.items()}
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no result of a command
            spec.loader.exec_module(module)
        _refuse_misspelled_slots(set(REGISTRY) - set(before), before)
    except BaseException as error:
        del sys.modules[module_name]
        REGISTRY.clear()  # forget what the file registered before it failed
        REGISTRY.update(before)
        if not isinstance(error, Exception | SystemExit):
            raise  # Ctrl-C
        raise InputError(f"{_location(file, module_name, error)}: {_message(error)}") from error
    return plugin


def _refuse_misspelled_slots(new: Iterable[str], known: Iterable[str]) -> None:
    for slot in new:
        if hint := nearest(slot, known):
            raise ValueError(f"there is no slot {slot!r}{hint}")


def _location(file: Path, module_name: str, error: BaseException) -> str:
    """`file:line` of the statement that failed; the file alone where the line is unknown."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == file.absolute():
        return f"{file}:{error.lineno}:{error.offset}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_globals.get("__name__") == module_name]
    return f"{file}:{lines[-1]}" if lines else str(file)
