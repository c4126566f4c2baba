"""What the last ``ablate run`` of a grid answered, which the same command answers again where nothing has changed.

Planning ten thousand runs takes seconds, and comparing them as well. Where every run is trained, and the grid's files,
its settings, the data, the runs, this package and all else that the answer rests on are what they were, neither is done
again. The answer is a file in the grid's folder, which may be deleted at any time.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from ..store.code import PACKAGE, package_source
from ..store.digests import DIGEST, is_as_written, with_own_digest
from ..store.files import read_json, write_json
from ..store.run_files import states
from ..store.runs import Store
from .folder import fingerprints
from .looks import LOOKS

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Plan

NAME = ".last.json"
SETTLED = 2.0
"""Seconds before planning since which a file must not have changed, so that it cannot have done so in between."""
MOST_LAYOUTS = 4
"""Tables that are kept, of terminals of so many widths."""
_COUNTS = ("planned", "completed", "diverged")


@dataclass(frozen=True)
class Last:
    """An answer: how many runs ended how, where W&B has them, and the tables that were printed, by their layouts."""

    directory: Path
    counts: Mapping[str, int]
    tracking: str
    content: dict[str, Any] = field(repr=False)

    def table(self, layout: str) -> list[str] | None:
        """The texts of the table for a terminal, and of what follows it; None where none were printed that way."""
        texts = self.content["tables"].get(layout)
        is_known = isinstance(texts, list) and len(texts) == 2 and all(isinstance(text, str) for text in texts)
        return texts if is_known else None

    def keep_table(self, layout: str, texts: Sequence[str]) -> None:
        """Keep what was printed; where the folder cannot be written to, it is made anew each time."""
        kept = list(self.content["tables"].items())[1 - MOST_LAYOUTS :]
        _save(self.directory, {**self.content, "tables": {**dict(kept), layout: list(texts)}})


def read_last(grid: Path, name: str, store: Store, settings: Sequence[str], seeds: int | None) -> Last | None:
    """The answer about a grid file, as long as it holds; None where something has to be planned."""
    directory = store.root / name
    try:
        content = read_json(directory / NAME)
        if not is_as_written(content):
            return None
        manifest = (directory / "manifest.json").read_bytes()
        known = content["known"]
        if known["settings"] != list(settings) or known["seeds"] != seeds or known["package"] != package():
            return None
        if known["here"] != str(Path.cwd()):  # paths of data may be relative to it
            return None
        if known["off"] != "disabled" and os.environ.get("WANDB_MODE") != "disabled":
            return None
        sources = known["sources"]
        if next(iter(sources)) != str(grid.resolve()) or fingerprints([Path(file) for file in sources]) != sources:
            return None
        if _states_of_files(known["data"]) != known["data"]:
            return None
        ids = [run["id"] for cell in json.loads(manifest)["cells"] for run in cell["runs"]]
        if not store.attempts().keys().isdisjoint(ids) or content["key"] != _key(directory, manifest, ids, store):
            return None
        counts = {count: int(content["counts"][count]) for count in _COUNTS}
        return Last(directory, counts, str(content["tracking"]), {**content, "tables": dict(content["tables"])})
    except (StorageError, OSError, ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError):
        return None  # absent or damaged: it is written anew


def save_last(
    plan: "Plan",
    comparison: "Comparison",
    store: Store,
    settings: Sequence[str],
    seeds: int | None,
    tracking: str,
    planned_at: float,
) -> Last | None:
    """Keep an answer where it can be known to hold without planning; ``planned_at`` is the time when planning began.

    That is where every run was trained to its end by this package alone, and nothing is mirrored to W&B.
    """
    results = [result for cell in comparison.cells for result in cell.results]
    own = {"source": package_source()}
    data = {state["path"] for run in plan.runs for state in run.data.values()}
    states_of_data = _states_of_files(data)
    mode = plan.runs[0].config.tracking.mode
    off = mode == "disabled" or (mode == "auto" and os.environ.get("WANDB_MODE") == "disabled")
    settled = (planned_at - SETTLED) * 1e9
    if (
        plan.plugins
        or not off
        or any(run.config.start_from is not None for run in plan.runs)
        or any(not result.ended or result.code != own or result.stale_code for result in results)
        or any(state is None or max(state[1:3]) > settled for state in states_of_data.values())
    ):
        return None
    directory = store.grid_directory(plan.name)
    file, base = Path(plan.grid.document.file), Path(plan.grid.base)
    contents = ((file, plan.grid.document.content), (base, plan.base))
    statuses = [result.status for result in results]
    try:
        manifest = (directory / "manifest.json").read_bytes()
        content: dict[str, Any] = {
            "key": _key(directory, manifest, [result.id for result in results], store),
            "known": {
                "settings": list(settings),
                "seeds": seeds,
                "package": package(),
                "here": str(Path.cwd()),
                "off": mode,
                "sources": {str(path.resolve()): hashlib.sha256(text).hexdigest() for path, text in contents},
                "data": states_of_data,
            },
            "counts": {
                "planned": len(statuses),
                "completed": statuses.count("completed"),
                "diverged": statuses.count("diverged"),
            },
            "tracking": tracking,
            "tables": {},
        }
    except OSError:
        return None
    _save(directory, content)
    return Last(directory, content["counts"], tracking, content)


def _save(directory: Path, content: Mapping[str, Any]) -> None:
    try:
        own = {key: value for key, value in content.items() if key != DIGEST}
        write_json(directory / NAME, with_own_digest(own), durable=False)
    except StorageError:
        return


def _key(directory: Path, manifest: bytes, run_ids: Iterable[str], store: Store) -> str:
    """Of all that the answer rests on and that lies in the folder of runs."""
    digest = hashlib.sha256(manifest)
    for name in ("bench.json", LOOKS):
        file = directory / name
        content = file.read_bytes() if file.is_file() else None
        digest.update(f"\n{name} {content is None}\n".encode() + (content or b""))
    tables = _states_of_files(str(directory / f"table.{ending}") for ending in ("md", "csv", "json"))
    digest.update(repr(sorted(tables.items())).encode())
    for run_id, state in states(store.directories(run_ids)).items():
        digest.update(f"{run_id} {state}\n".encode())
    return digest.hexdigest()


def _states_of_files(files: Iterable[str]) -> dict[str, list[int] | None]:
    """Size, times and place of each regular file; None of any other, whose content may change without them."""
    found: dict[str, list[int] | None] = {}
    for file in files:
        path = Path(file).absolute()
        status = path.stat() if path.is_file() else None
        found[str(path)] = status and [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return found


@cache
def package() -> str:
    """A fingerprint of every module of this package: of what plans, compares and writes tables as well."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()
