"""Which code trains a run: recorded and compared, never part of its identity."""

import inspect
import subprocess
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__

if TYPE_CHECKING:  # importing it takes a tenth of a second, which commands that only read runs need not
    from ..registry import Config

PACKAGE = Path(__file__).resolve().parent.parent
LENGTH = 16
"""Hexadecimal digits of a fingerprint."""
_GIT_SECONDS = 5.0


def code_version(config: "Config") -> dict[str, Any]:
    """The version and fingerprint of this package, and fingerprints of the files of components from elsewhere."""
    from ..registry import components_in

    named = {f"{part.slot}.{part.name}": type(part).component for part in components_in(config)}
    plugins = {part: version for part, component in sorted(named.items()) if (version := _version(component))}
    return {"ablation": __version__, "source": package_source(), "plugins": plugins}


def recorded_code(record: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprints in a run.json: of the package's ``source``, and of each component from elsewhere by its name."""
    code = record.get("code") or {}
    plugins = code.get("plugins") or {}
    return {"source": str(code["source"]), **{str(k): str(v) for k, v in plugins.items()}} if "source" in code else {}


def is_stale(record: Mapping[str, Any]) -> bool:
    """Whether the run of a run.json was trained by other code than today's, as far as files say without loading it.

    Components of installed packages are not looked for.
    """
    recorded = recorded_code(record)
    if not recorded:
        return False
    files = {plugin["sha256"][:LENGTH]: Path(plugin["file"]) for plugin in record.get("plugins") or ()}
    of_plugins = [(version, files[version]) for version in recorded.values() if version in files]
    changed = any(file.is_file() and _fingerprint(file) != version for version, file in of_plugins)
    return changed or recorded["source"] != package_source()


class Recorded:
    """What many records say of their code, by which of them it is alike: files are read once for all of them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, str], bool]] = {}

    def of(self, record: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
        """As ``recorded_code``, and as ``is_stale``."""
        key = repr((record.get("code"), record.get("plugins")))
        if key not in self._known:
            self._known[key] = recorded_code(record), is_stale(record)
        return self._known[key]


@cache
def package_source() -> str:
    """A fingerprint of the modules that decide a run's numbers."""
    folders = ("components", "model", "optim", "tasks", "training")
    files = [PACKAGE / "rng.py", *(file for folder in folders for file in (PACKAGE / folder).rglob("*.py"))]
    return _fingerprint(*sorted(files))


@cache
def commit() -> str:
    """The commit of the package's clone, and whether files differ from it; empty where there is no clone."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    head, changes = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if head is None:
        return ""
    return head if not changes else f"{head} with changes that are not committed"


def _git(*words: str) -> str | None:
    """The answer of git about the package's clone, None where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *words], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@cache
def _version(component: type) -> str | None:
    """The fingerprint of a component from elsewhere: of the source that was run, as its file may be another by now."""
    from ..plugins import PREFIX

    if component.__module__.startswith(PREFIX):
        return component.__module__.removeprefix(PREFIX)
    file = Path(inspect.getfile(component)).resolve()
    return None if PACKAGE in file.parents else _fingerprint(file)


def _fingerprint(*files: Path) -> str:
    digest = sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:LENGTH]
