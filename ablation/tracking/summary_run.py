"""The summary run: one W&B run for each grid, with its comparison as a table and its files as an artifact.

It is written anew after every training, so that who looks at the dashboard sees what the terminal showed last.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..secrets import redact_values
from .follow import Ledger
from .mirror import line_of
from .mode import Mode
from .session import ENVIRONMENT, Session, TrackedRun, set_environment

TIMEOUT = 30.0
"""Seconds that W&B is given to take it."""
JOB = "summary"


@dataclass(frozen=True)
class GridSummary:
    """What W&B gets of a grid as a whole."""

    grid: str
    notes: str
    """The result in sentences."""
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Of the comparison, a cell in each."""
    numbers: Mapping[str, str | int | float | bool]
    """The main figures."""
    files: Sequence[Path]
    """The artifact's: the grid's file, its manifest and its tables."""
    tags: Sequence[str] = ()

    @property
    def id(self) -> str:
        """The same for the same grid, so that the run is updated."""
        return f"summary-{hashlib.sha256(self.grid.encode()).hexdigest()[:24]}"


def mirror_summary(
    summary: GridSummary,
    directory: Path,
    project: str,
    mode: Mode,
    report: Callable[[str], None],
    entity: str | None = None,
) -> bool:
    """Write the summary run of a grid; returns whether that went well. Whatever goes wrong is one line."""
    if mode.mode == "disabled":
        return True
    environment, session = set_environment(ENVIRONMENT), Session(directory, project, entity)
    try:
        session.begin()
        for folder in session.folders("offline-run", summary.id):  # else two of one id would replace each other
            shutil.rmtree(folder)
        _write(session, summary, mode.mode)
    except Exception as error:  # whatever wandb raises costs the dashboard and no result
        report(f"W&B: the summary of {summary.grid} was not written: {line_of(error)}")
        return False
    finally:
        session.end(TIMEOUT)
        set_environment(environment)
    return True


def _write(session: Session, summary: GridSummary, mode: str) -> None:
    import wandb

    tracked = TrackedRun(
        id=summary.id,
        directory=Path(),
        name=f"{summary.grid}: summary",
        group=f"{summary.grid}: summary",
        tags=(summary.grid, *summary.tags),
        config={},
        factors={},
        notes=summary.notes,
    )
    run = session.open(tracked, mode, Ledger(), JOB)
    try:
        rows = [[_plain(value) for value in row] for row in summary.rows]
        run.log({"comparison": wandb.Table(columns=list(summary.columns), data=rows)})
        run.summary.update(redact_values({**summary.numbers, "written": time.strftime("%Y-%m-%d %H:%M:%S%z")}))
        artifact = wandb.Artifact(f"study-{summary.id}", type="study", description=summary.grid)
        for file in summary.files:
            if file.is_file():
                artifact.add_file(str(file), name=file.name)
        run.log_artifact(artifact)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
