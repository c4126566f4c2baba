"""Step times: how long a training step of each cell takes, timed once where a grid matches time.

Every later plan uses the same times, so that its runs stay the same ones; another grid file, baseline or setting is
timed anew. The file may be deleted, which times again.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from ..errors import StorageError
from ..store.checks import mapping_of, number, record, text
from ..store.files import read_json, write_json
from ..store.runs import Store

if TYPE_CHECKING:
    from ..grid.file import Grid
    from ..grid.plan import Plan

NAME = "step_times.json"
_TIMES = record({"of": text, "seconds": mapping_of(number)})


def matches_time(grid: "Grid") -> bool:
    """Whether the grid needs them."""
    return grid.config.match is not None and grid.config.match.quantity == "time"


def read_step_times(grid: "Grid", store: Store, settings: Sequence[str]) -> dict[str, float] | None:
    """Seconds by the label of the cell; None where these cells were not timed."""
    try:
        times = read_json(store.root / grid.config.name / NAME)
    except StorageError:
        return None
    if _TIMES(times) is not None or times["of"] != _fingerprint(grid, settings):
        return None
    return {label: float(seconds) for label, seconds in times["seconds"].items()}


def time_steps(plan: "Plan", store: Store, settings: Sequence[str]) -> None:
    """Time the cells of a plan and keep it. Errors: ``ProcessError``; StorageError."""
    from .forecast import probe

    content = {"of": _fingerprint(plan.grid, settings), "seconds": probe(plan)}
    write_json(store.grid_directory(plan.name) / NAME, content)


def _fingerprint(grid: "Grid", settings: Sequence[str]) -> str:
    base = b"" if grid.base_read is None else grid.base_read.content
    return sha256(b"\n".join([grid.document.content, base, *(setting.encode() for setting in settings)])).hexdigest()
