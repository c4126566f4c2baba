"""Looks at a grid: at how many seeds its verdicts were shown, since seeds that are added after a look are another try.

A grid's folder has a line for each of them in looks.jsonl, which is only appended to, so that several commands may do
so at once. A look is of runs: it says nothing about a grid whose file has changed so that its baseline is another.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.rows import Row, read_rows
from ..store.schemas import LOOK

if TYPE_CHECKING:
    from ..compare.records import Comparison

LOOKS = "looks.jsonl"


def with_earlier_looks(comparison: "Comparison", directory: Path) -> "Comparison":
    """The comparison with ``seen`` and ``more_seeds``: other numbers of seeds at which its verdicts were shown before.

    Looks that were planned when they were taken have their share of the 5 %, and are not ``seen``.

    Errors: StorageError.
    """
    n_seeds = seeds_shown(comparison)
    if n_seeds is None:
        return comparison
    earlier = [look for look in map(_read, read_rows(directory / LOOKS)) if look is not None]
    runs = {run.id for run in comparison.baseline.results}
    of_these = [look for look in earlier if runs & {*look["runs"]}]
    numbers = {look["seeds"] for look in of_these if not look["planned"]}
    most = max((look["seeds"] for look in of_these), default=0)
    return replace(
        comparison, seen=tuple(sorted(numbers - {n_seeds})), more_seeds=most if most > len(comparison.seeds) else None
    )


def record_look(comparison: "Comparison", directory: Path) -> None:
    """Write that the verdicts of a comparison were shown, once for every number of seeds and metric.

    A table of runs that cannot be written to is shown all the same.
    """
    n_seeds = seeds_shown(comparison)
    if n_seeds is None:
        return
    look: dict[str, Any] = {
        "seeds": n_seeds,
        "metric": comparison.metric,
        "planned": list(comparison.interim_looks),
        "runs": [run.id for run in comparison.baseline.results if run.ended],
    }
    with suppress(OSError):
        if any(_read(row) == look for row in read_rows(directory / LOOKS)):
            return
        directory.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **look}) + "\n"
        descriptor = os.open(directory / LOOKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line.encode())  # in one call, so that lines of two commands do not mix
        finally:
            os.close(descriptor)


def seeds_shown(comparison: "Comparison") -> int | None:
    """The seeds of the cell that is tested on the most of them; None where nothing is tested."""
    tested = [
        metric.contrast.pairs
        for cell in comparison.cells[1:]
        for metric in (cell.metrics[name] for name in comparison.primary.values() if name is not None)
        if metric.contrast and metric.values and metric.verdict and metric.verdict.interval
    ]
    return max(tested, default=None)


def _read(row: Row) -> Mapping[str, Any] | None:
    """What a row says, without the time; None where it is no look."""
    if LOOK(row) is not None:
        return None
    return {name: row[name] for name in ("seeds", "metric", "planned", "runs")}
