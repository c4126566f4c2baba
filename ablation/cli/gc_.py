"""``ablate gc``: deletes what no grid needs."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .common import AsJson, Runs, existing_store, message
from .streams import say

if TYPE_CHECKING:
    from ..store.collect import Garbage

Yes = Annotated[bool, typer.Option("--yes", help="Delete without asking.")]

NOUNS = {
    "run": "run",
    "replaced": "replaced run",
    "damaged": "damaged run",
    "attempt": "stopped attempt",
    "order": "order",
    "unfinished": "unfinished file",
}


def gc_(runs: Runs = Path("runs"), yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete runs that are in no grid, what was moved aside, and what is left of either; asks first."""
    from ..store.collect import delete, find_garbage
    from ..store.lock import refuse_if_held

    store = existing_store(runs)
    refuse_if_held(store.root)
    found = find_garbage(store)
    if not as_json:
        for line in _listed(found, store.root):
            say(line)
    if found and not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise InputError(f"nothing is deleted: there is no terminal to ask on; --yes deletes {_summary(found)}")
        typer.echo(f"Delete {_summary(found)}? [y/N]: ", nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            message("Nothing is deleted.")
            return
    with store.lock() if found else contextlib.nullcontext():
        deleted = delete(found, store) if found else []
    if as_json:
        say(json.dumps(_as_dict(deleted, store.root)))
    else:
        say(f"Deleted {_summary(deleted)}." if deleted else "There is nothing to delete.")


def _listed(found: Sequence["Garbage"], root: Path) -> list[str]:
    """A line each, the size first."""
    from ..report.labels import plain
    from ..report.numbers import short

    return [plain(f"{short(one.size):>6}B  {NOUNS[one.kind]}: {one.path.relative_to(root)}") for one in found]


def _summary(found: Sequence["Garbage"]) -> str:
    """``12 runs, 3 orders (34.1MB)``."""
    from ..report.numbers import short
    from ..stats.contrast import plural

    kinds = [one.kind for one in found]
    counts = ", ".join(plural(kinds.count(kind), NOUNS[kind]) for kind in dict.fromkeys(kinds))
    return f"{counts} ({short(sum(one.size for one in found))}B)"


def _as_dict(deleted: Sequence["Garbage"], root: Path) -> dict[str, Any]:
    listed = [{"kind": one.kind, "path": one.path.relative_to(root).as_posix(), "bytes": one.size} for one in deleted]
    return {"deleted": listed, "bytes": sum(one.size for one in deleted)}
