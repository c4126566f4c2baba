"""What of each run is really in W&B: rows and summary are read back and compared with those in its directory.

W&B confirms uploads that have not happened: `wandb sync` exits with 0 where the server took nothing, and a file of an
offline run may lack its last rows where a process was killed.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..secrets import redact_values
from ..store.rows import METRICS, read_rows
from .follow import LEDGER, MirroredEnd, read_ledger, read_mirrored_end
from .mirror import advice, line_of
from .mode import Mode
from .session import ENVIRONMENT, Session, TrackedRun, set_environment

PAUSES = (0.0, 1.0, 4.0)
"""Seconds before each time that a server is asked: what it has taken, it counts a little later."""
AT_ONCE = (0.0,)
"""Of files, which nobody is writing."""
API_TIMEOUT = 20
END_TIMEOUT = 10.0
MOST_KEYS = 3
"""Named in a line."""


@dataclass(frozen=True)
class Arrived:
    """What there is of a run: how many rows, and the summary."""

    rows: int
    summary: Mapping[str, Any]
    next_row: Callable[[], int] = lambda: 0
    """Asks for the first row that would be taken; what is missing before it cannot be sent any more."""


@dataclass
class Verification:
    """How many runs are complete in W&B, and what the others lack, by the run's id."""

    complete: int = 0
    incomplete: dict[str, str] = field(default_factory=dict)
    holes: int = 0
    """Of the incomplete runs, those whose missing rows W&B no longer takes."""
    unchecked: int = 0
    """Runs that are on a server that was not asked, since W&B is offline now."""

    @property
    def sentence(self) -> str:
        """Of all runs that have ended."""
        parts = [f"rows and summaries of {self.complete} runs were read back and are complete"] if self.complete else []
        if (n_sent := len(self.incomplete) - self.holes) > 0:
            parts.append(f"{n_sent} are not: `ablate sync` again sends what is missing")
        if self.holes:
            parts.append(f"{self.holes} lack rows that W&B no longer takes: delete them there, then `ablate sync`")
        if self.unchecked:
            parts.append(f"{self.unchecked} are on the server, which was not asked")
        return ", ".join(parts)


def verify(
    runs: Sequence[TrackedRun],
    directory: Path,
    project: str,
    mode: Mode,
    report: Callable[[str], None],
    entity: str | None = None,
) -> Verification:
    """Compare what arrived of the runs that have ended with what is in their directories; a line for each that lacks
    something, whose ledger is removed, so that the next replay sends it.

    Online the server is asked, offline the files in ``directory``/wandb are read. Whatever goes wrong is one line.
    """
    found = Verification()
    ended = [] if mode.mode == "disabled" else [*_ended(runs, found, report)]
    if not ended:
        return found
    unread = {run.id: "was not read back" for run, _ in ended}
    environment = set_environment(ENVIRONMENT)
    session = Session(directory, project, entity)
    try:
        session.begin()
        online = mode.mode == "online"
        read = _Server(project, entity).read if online else _Folder(directory).read
        for run, end in ended:
            if not online and read_ledger(run.directory).mode == "online":
                found.unchecked += 1
                del unread[run.id]
                continue
            missing, is_hole = _lacks(run, end, read, PAUSES if online else AT_ONCE)
            del unread[run.id]
            if missing is None:
                found.complete += 1
                continue
            found.holes += is_hole
            found.incomplete[run.id] = missing
            (run.directory / LEDGER).unlink(missing_ok=True)
            report(f"W&B: {run.name} ({run.id[:8]}): {missing}")
    except Exception as error:  # whatever wandb raises: nothing is known of the rest, which counts as missing
        found.incomplete |= unread
        report(f"W&B: what arrived could not be read back: {line_of(error)}{advice(error)}")
    finally:
        session.end(END_TIMEOUT)
        set_environment(environment)
    return found


def _ended(
    runs: Sequence[TrackedRun], found: Verification, report: Callable[[str], None]
) -> Iterator[tuple[TrackedRun, MirroredEnd]]:
    """The runs that have ended, and how; one whose own files are damaged is a line, and counts as incomplete."""
    for run in runs:
        try:
            end = read_mirrored_end(run.directory)
        except StorageError as error:
            found.incomplete[run.id] = "its result is damaged"
            report(f"W&B: {run.name} ({run.id[:8]}): {line_of(error)}")
            continue
        if end is not None:
            yield run, end


def _lacks(
    run: TrackedRun, end: MirroredEnd, read: Callable[[TrackedRun], Arrived | None], pauses: Sequence[float]
) -> tuple[str | None, bool]:
    """What is missing of a run, in words, None where nothing is; and whether rows are that can no longer be sent."""
    rows, summary = len(read_rows(run.directory / METRICS)), redact_values(end.summary)
    for pause in pauses:
        time.sleep(pause)
        arrived = read(run)
        missing = "nothing of it arrived" if arrived is None else _difference(rows, summary, arrived)
        if missing is None:
            return None, False
    return missing, arrived is not None and arrived.rows < rows and arrived.rows < arrived.next_row()


def _difference(rows: int, summary: Mapping[str, Any], arrived: Arrived) -> str | None:
    parts = []
    if arrived.rows < rows:
        parts.append(f"{arrived.rows} of {rows} rows arrived")
    absent = [name for name in summary if name not in arrived.summary]
    other = [name for name in summary if name in arrived.summary and arrived.summary[name] != summary[name]]
    for names, what in ((absent, "its summary lacks"), (other, "its summary has other values of")):
        if names:
            more = f" and {len(names) - MOST_KEYS} more" if len(names) > MOST_KEYS else ""
            parts.append(f"{what} {', '.join(names[:MOST_KEYS])}{more}")
    return "; ".join(parts) or None


class _Server:
    """The runs of a project, as the server has them."""

    def __init__(self, project: str, entity: str | None):
        import wandb

        self.api: Any = wandb.Api(timeout=API_TIMEOUT)
        self.project, self.entity = project, entity or self.api.default_entity

    def read(self, run: TrackedRun) -> Arrived | None:
        from wandb.apis.public.runs import RunNotFoundError
        from wandb.errors import CommError

        # The object of a run makes a folder that nothing is ever put into.
        with tempfile.TemporaryDirectory(prefix="ablation-wandb-") as scratch:
            before = set_environment({"WANDB_DIR": scratch})
            try:
                self.api.flush()  # else it answers as before
                found = self.api.run(f"{self.entity}/{self.project}/{run.id}")
            except CommError as error:
                if isinstance(error.exc, RunNotFoundError):
                    return None
                raise
            finally:
                set_environment(before)
        rows, summary = int(found.historyLineCount or 0), dict(found.summary_metrics)
        return Arrived(rows, summary, next_row=lambda: int(found.lastHistoryStep) + 1)


class _Folder:
    """The offline runs in a folder."""

    def __init__(self, directory: Path):
        self.directory = directory / "wandb"

    def read(self, run: TrackedRun) -> Arrived | None:
        from .offline import read

        folder = read_ledger(run.directory).wandb_dir
        files = [] if folder is None else [*(self.directory / folder).glob("*.wandb")]
        if not files:
            return None
        try:
            record = read(files[0])
        except (OSError, ValueError):  # damaged, so that nothing of it could be uploaded
            return Arrived(0, {})
        return Arrived(len(record.history), record.summary)
