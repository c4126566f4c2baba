"""What a training of a study did, and how its runs ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..store.results import FAILED, UNFINISHED
from .last import Last

if TYPE_CHECKING:
    from ..compare.records import Comparison


@dataclass(frozen=True)
class StudySummary:
    """What ``Study.run`` did: runs by how they ended, of which ``executed`` were trained now."""

    grid: str
    planned: int
    cached: int
    executed: int
    completed: int
    diverged: int
    failed: int
    missing: int
    """Not trained: the command was interrupted, or their data were not those that they were planned on."""
    seconds: float
    directory: Path
    """Of the grid: its manifest and tables."""
    interrupted: bool
    stale_code: int
    """Runs that were trained by other code than today's."""
    tracking: str
    """Where W&B has the curves, in one line."""
    compare: "Callable[[], Comparison]" = field(repr=False)
    last: Last | None = field(default=None, repr=False)
    """The answer as it is kept, with the tables that were printed; None where it cannot be."""

    @classmethod
    def of_training(
        cls,
        comparison: "Comparison",
        *,
        n_trained: int,
        n_left_out: int,
        executed: int,
        interrupted: bool,
        directory: Path,
        tracking: str,
        started: float,
        last: Last | None,
    ) -> Self:
        """Of ``n_trained`` runs that were to be trained, ``executed`` were; ``started`` is a monotonic time.

        ``n_left_out`` runs are not in the plan that was saved: where they are not trained, they are not missing.
        """
        results = [result for cell in comparison.cells for result in cell.results]
        statuses = [result.status for result in results]
        return cls(
            grid=comparison.grid,
            planned=len(statuses),
            cached=len(statuses) - n_trained - n_left_out,
            executed=executed,
            completed=statuses.count("completed"),
            diverged=statuses.count("diverged"),
            failed=sum(status in FAILED for status in statuses),
            missing=max(0, sum(status in UNFINISHED for status in statuses) - n_left_out),
            seconds=round(time.monotonic() - started, 3),
            directory=directory,
            interrupted=interrupted,
            stale_code=sum(result.stale_code for result in results),
            tracking=tracking,
            compare=lambda: comparison,
            last=last,
        )

    @classmethod
    def of_last(cls, grid: str, last: Last, compare: "Callable[[], Comparison]", started: float) -> Self:
        """Where nothing has changed since the last training, and nothing was trained."""
        return cls(
            grid=grid,
            planned=last.counts["planned"],
            cached=last.counts["planned"],
            executed=0,
            completed=last.counts["completed"],
            diverged=last.counts["diverged"],
            failed=0,
            missing=0,
            seconds=round(time.monotonic() - started, 3),
            directory=last.directory,
            interrupted=False,
            stale_code=0,
            tracking=last.tracking,
            compare=compare,
            last=last,
        )

    @cached_property
    def comparison(self) -> "Comparison":
        """The cells compared."""
        return self.compare()

    def as_dict(self) -> dict[str, Any]:
        """As plain data: the JSON of ``ablate run``."""
        names = ("grid", "planned", "cached", "executed", "completed", "diverged", "failed", "missing", "seconds")
        return {**{name: getattr(self, name) for name in names}, "directory": str(self.directory)}
