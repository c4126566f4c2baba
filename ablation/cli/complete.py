"""What the shell offers behind a command: grids, their cells, slots and their members, metrics.

Everything is read from small files, without torch: a key press waits for it. Whatever cannot be read offers nothing.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.bundled import GRIDS, conf, names
from ..errors import InputError

GRID_ENDINGS = (".yaml", ".yml", ".jsonl")
PACKAGE = Path(__file__).parent.parent
VARIABLE = "_ABLATE_COMPLETE"
"""By which the shell asks, and which of its kinds asks."""
ON_SCREEN = "_ABLATE_ON_SCREEN"
"""What bash takes for words before the one that is completed, though it is the beginning of it."""
_REGISTERED = re.compile(r'^@register\(\s*"(?P<slot>\w+)",\s*"(?P<name>[\w-]+)"', re.MULTILINE)


def grids(ctx: Any, incomplete: str) -> list[str]:
    """Names of grids in the folder of runs and in conf/; folders and grid files as far as they are typed."""
    bundled = [name for folder in GRIDS.values() for name in names(folder)]
    return _starting([*_names(_runs(ctx)), *bundled, *_paths(incomplete)], incomplete)


def _paths(incomplete: str) -> list[str]:
    """The folders and grid files beside the one that is typed."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            name = path.name if folder == Path() else f"{str(folder).rstrip('/')}/{path.name}"
            if path.is_dir() and not path.name.startswith("."):
                found.append(f"{name}/")
            elif path.suffix in GRID_ENDINGS:
                found.append(name)
    return found


def grid_names(ctx: Any, incomplete: str) -> list[str]:
    """The names of the grids in the folder of runs."""
    return _starting(_names(_runs(ctx)), incomplete)


def cells(ctx: Any, incomplete: str) -> list[str]:
    """The labels of the cells of the grid that is typed already, but for the baseline's."""
    return _starting(_listed(ctx, "cells", "label")[1:], incomplete)


def all_cells(ctx: Any, incomplete: str) -> list[str]:
    """The same with the baseline's."""
    return _starting(_listed(ctx, "cells", "label"), incomplete)


def factors(ctx: Any, incomplete: str) -> list[str]:
    """The names of the factors of the grid that is typed already."""
    return _starting(_listed(ctx, "factors", "name"), incomplete)


def slots(incomplete: str) -> list[str]:
    """The slots, and the names of their components."""
    found = list(registered())
    return _starting([*dict.fromkeys(slot for slot, _ in found), *(name for _, name in found)], incomplete)


def assignments(incomplete: str) -> list[str]:
    """The paths of the baseline, and behind ``model.position=`` the names of the components of that slot."""
    path, equals, _ = _typed(incomplete).partition("=")
    if not equals:
        return _starting(_paths_of_baseline(), incomplete)
    slot = path.rpartition(".")[2]
    return _starting((f"{path}={name}" for of, name in registered() if of == slot), incomplete)


def _paths_of_baseline() -> Iterator[str]:
    from ..yaml import read

    for section, value in read(conf() / "base.yaml").value.items():
        if isinstance(value, dict):
            yield from (f"{section}.{name}" for name in value if name != "name")
        yield section


def registered() -> Iterator[tuple[str, str]]:
    """Slot and name of every component of this package, as its files register them: importing them takes seconds."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for found in _REGISTERED.finditer(file.read_text(encoding="utf-8")):
            yield found["slot"], found["name"]


def join_words(environment: MutableMapping[str, str]) -> None:
    """Undo that bash breaks words at every ``=``, which labels and settings have."""
    words, at = environment.get("COMP_WORDS", "").split("\n"), environment.get("COMP_CWORD", "")
    if environment.get(VARIABLE) != "complete_bash" or not at.isdigit() or int(at) >= len(words):
        return
    words = words[: int(at) + 1]
    joined: list[str] = []
    for word in words:
        if joined[1:] and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    *before, last = joined
    cut = last.rfind("=") + 1
    environment[ON_SCREEN] = last[:cut]
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join([*before, last[cut:]]), str(len(before))


def _typed(incomplete: str) -> str:
    return os.environ.get(ON_SCREEN, "") + incomplete


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    """Those that go on as was typed, each once; for bash without the part that it treats as a word of its own."""
    found = [word for word in dict.fromkeys(words) if word.startswith(_typed(incomplete))]
    if os.environ.get(VARIABLE) != "complete_bash":
        return found
    return [word.removeprefix(os.environ.get(ON_SCREEN, "")).replace(" ", "\\ ") for word in found]


def _runs(ctx: Any) -> Path:
    return Path(ctx.params.get("runs") or "runs")


def _names(runs: Path) -> list[str]:
    return sorted(file.parent.name for file in runs.glob("*/manifest.json"))


def _listed(ctx: Any, key: str, name: str) -> list[str]:
    """What the manifest of the typed grid has under this name, in order."""
    with suppress(TypeError, KeyError):  # of a manifest that is none
        return [str(each[name]) for each in _manifest(ctx)[key]]
    return []


def _manifest(ctx: Any) -> dict[str, Any]:
    """That of the grid that is typed already, by its name or its file; empty where there is none."""
    from ..yaml import read

    # Before the value of an option arguments are not assigned yet.
    grid = Path(ctx.params.get("grid") or next(iter(ctx.args), ""))
    with suppress(InputError, OSError, ValueError, KeyError, TypeError):  # half-typed, or never run: nothing is offered
        name = read(grid).value["name"] if grid.is_file() else grid
        manifest = json.loads((_runs(ctx) / str(name) / "manifest.json").read_text(encoding="utf-8"))
        return manifest if isinstance(manifest, dict) else {}
    return {}
