"""One background thread that follows run directories and replays them into W&B.

The run directories are the truth. Whatever goes wrong here costs curves on a server, never a result: it is reported in
one line, and a later replay mirrors what is missing.
"""

import math
import re
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..secrets import redact, redact_values
from ..store.rows import METRICS, RestartedError, Row, RowReader
from ..store.stored_runs import StoredRuns
from .follow import Ledger, MirroredEnd, read_ledger, read_mirrored_end, write_ledger
from .mode import Mode
from .session import ENVIRONMENT, SETTINGS, Session, TrackedRun, set_environment

POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0  # finish() returns before the last records are on disk; they follow within the flush interval
INTERRUPTED = 255  # W&B shows this exit code as "killed"


@dataclass
class _MirroredRun:
    """A run and how far it is mirrored."""

    tracked: TrackedRun
    rows: RowReader = field(init=False)
    run: Any = None  # the open W&B run
    online: bool = False
    first_row: int = 0  # rows before it are on the server already
    lost_uploads: int = 0  # of the session, when the run was opened
    end: MirroredEnd | None = None  # set once the run is mirrored completely
    postponed: bool = False  # to a later replay
    others: Ledger = field(default_factory=Ledger)  # the tags and keys that other grids have given it

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.rows = RowReader(self.tracked.directory / METRICS)


class Mirror:
    """Mirrors runs into W&B, while they train and after they have ended.

    Args:
        runs: the runs to follow.
        store: where they are; the folder `wandb` goes there as well.
        project: the W&B project.
        mode: from `resolve_mode`.
        report: is called with one line when something goes wrong, from the mirror's thread.
        entity: the user or team that the project is of; None: the one that W&B takes by default.
    """

    def __init__(
        self,
        runs: Sequence[TrackedRun],
        store: StoredRuns,
        project: str,
        mode: Mode,
        report: Callable[[str], None],
        entity: str | None = None,
    ) -> None:
        self._runs = [_MirroredRun(run) for run in runs]
        self._store = store
        self._project = project
        self._mode = mode.mode
        self._report = report
        self._attempts: Mapping[str, Sequence[Path]] = {}
        self._there: Mapping[str, Path] = {}
        self._session = Session(store.root, project, entity)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._settling: list[tuple[float, Path, Ledger]] = []
        self._reported: set[str] = set()
        self._url: str | None = None
        self._environment: dict[str, str | None] = {}

    @property
    def tracked(self) -> list[TrackedRun]:
        """The runs that it follows."""
        return [mirrored.tracked for mirrored in self._runs]

    def start(self) -> None:
        """Start following; returns at once. Until `close`, a few environment variables keep wandb quiet."""
        if self._mode == "disabled" or self._thread is not None:
            return
        self._environment = set_environment(ENVIRONMENT)  # here: in the thread it would race with starting processes
        self._thread = threading.Thread(target=self._work, name="wandb-mirror", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 60.0) -> None:
        """Replay the rest and finish all W&B runs; what takes longer than `timeout` seconds is left for later."""
        if self._thread is None or self._closing.is_set():
            return
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        try:
            # Nothing starts after the deadline, but what started before it may take as long as its own timeout.
            self._thread.join(timeout + SETTINGS["init_timeout"] + SETTINGS["finish_timeout"])
        finally:  # also where the user interrupts the wait
            if self._thread.is_alive():
                self._warn("wandb did not end in time")
                self._session.end(0.1)  # else wandb's exit handler would wait forever
            set_environment(self._environment)

    def summary(self) -> str:
        """One line for the user: where the curves are."""
        if self._mode == "disabled":
            return "W&B: off"
        folder = shlex.quote(str(self._store.root / "wandb"))
        line = f"W&B offline: view with `wandb leet {folder}`, upload with `ablate sync GRID`"
        if self._mode == "online":
            line = f"W&B: {self._url or f'nothing new for project {self._project}'}"
        left = sum(mirrored.postponed for mirrored in self._runs)
        return f"{line}; {left} of {len(self._runs)} runs are left to `ablate sync`" if left else line

    # All methods below run in the thread.

    def _work(self) -> None:
        try:
            self._session.begin()
            closing = False
            while not closing:
                closing = self._closing.is_set()  # before the last pass, so that it reads all that was written
                self._attempts = self._store.attempts()
                self._there = self._store.directories(mirrored.tracked.id for mirrored in self._runs)
                self._each(self._runs, self._follow)
                self._settle(time.monotonic() - SETTLE_SECONDS)
                if not closing:
                    self._closing.wait(POLL_SECONDS)
            self._each((mirrored for mirrored in self._runs if mirrored.run is not None), self._interrupt)
            if self._is_late():
                self._warn("closing took too long")
                self._postpone(self._runs)
        except Exception as error:  # wandb is missing or broken
            self._warn(line_of(error))
            self._postpone(self._runs)
        finally:
            if self._session.end(max(1.0, min(60.0, self._deadline - time.monotonic()))):
                self._settle(time.monotonic())

    def _each(self, runs: Iterable[_MirroredRun], action: Callable[[_MirroredRun], None]) -> None:
        for mirrored in runs:
            if mirrored.postponed or self._is_late():
                continue
            try:
                action(mirrored)
            except Exception as error:  # whatever wandb raises costs this run's mirror, not the others
                self._warn(line_of(error))
                self._postpone([mirrored])

    def _postpone(self, runs: Iterable[_MirroredRun]) -> None:
        """Give up on the runs that are not mirrored completely: a later replay starts them again."""
        for mirrored in runs:
            mirrored.run, mirrored.postponed = None, mirrored.end is None

    def _follow(self, mirrored: _MirroredRun) -> None:
        directory, known = mirrored.tracked.directory, mirrored.end
        attempts = self._attempts.get(mirrored.tracked.id, ())
        if known is not None and known.status != "failed":
            return
        there = mirrored.tracked.id in self._there
        if not (attempts or there):
            return
        end = read_mirrored_end(directory) if there else None  # before the rows: none is written after it
        mirrored.rows.move((attempts[-1] if attempts and end is None else directory) / METRICS)
        if known is not None:
            if end == known:
                return
            mirrored.end = None  # a failed run is tried again
            mirrored.restart()
        if mirrored.run is None:
            tags, keys = mirrored.tracked.tags, mirrored.tracked.keys
            ledger = read_ledger(directory) if there else Ledger()
            if end is not None and ledger.covers(directory, self._project, self._mode, end, tags, keys):
                mirrored.end = end
                return
            if end is None and not mirrored.rows.exists():
                return
            self._open(mirrored, ledger)
        try:
            rows = mirrored.rows.read()
        except RestartedError:
            self._begin_again(mirrored)
            self._follow(mirrored)
            return
        for step, row in rows:
            if self._is_late():
                return
            if step >= mirrored.first_row:
                mirrored.run.log(_with_nan(row), step=step, commit=True)
        if end is not None:
            self._finish(mirrored, end)

    def _open(self, mirrored: _MirroredRun, ledger: Ledger) -> None:
        tracked = mirrored.tracked
        others = ledger if ledger.project == self._project else Ledger()
        mirrored.others = others
        online_folders = self._session.folders("run", tracked.id)
        if self._mode == "online":
            try:
                mirrored.run = self._session.open(tracked, "online", others)
            except Exception as error:
                self._go_offline(error)
                for folder in self._session.folders("run", tracked.id) - online_folders:
                    shutil.rmtree(folder, ignore_errors=True)
        mirrored.online = mirrored.run is not None
        if mirrored.online:
            mirrored.first_row, self._url = mirrored.run.starting_step, mirrored.run.project_url
        else:
            # It may name a copy that another project needs.
            kept = ledger.wandb_dir if ledger.complete and ledger.project != self._project else None
            for folder in self._session.folders("offline-run", tracked.id):
                if folder.name != kept:
                    shutil.rmtree(folder)
            mirrored.first_row, mirrored.run = 0, self._session.open(tracked, "offline", others)
        mirrored.lost_uploads = self._session.lost_uploads

    def _begin_again(self, mirrored: _MirroredRun) -> None:
        """Replay a run that is being trained again from its first row."""
        if mirrored.online:
            # The server never deletes rows, and a run that is trained again writes the same ones.
            mirrored.first_row = max(mirrored.first_row, mirrored.rows.lines)
        else:
            self._interrupt(mirrored)
        mirrored.restart()

    def _interrupt(self, mirrored: _MirroredRun) -> None:
        self._end(mirrored, INTERRUPTED)

    def _end(self, mirrored: _MirroredRun, exit_code: int) -> str | None:
        """Finish the W&B run; returns the name of its folder, None where the server is lost."""
        run = mirrored.run
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError as error:
            self._go_offline(error)  # leaves this run too
            return None
        mirrored.run = None
        return Path(run.dir).parent.name

    def _finish(self, mirrored: _MirroredRun, end: MirroredEnd) -> None:
        tracked = mirrored.tracked
        mirrored.run.summary.update(redact_values(end.summary))
        wandb_dir = self._end(mirrored, end.exit_code)
        if wandb_dir is None:
            return
        if mirrored.online:
            if self._session.lost_uploads > mirrored.lost_uploads:
                self._warn("the server refused rows")
                self._postpone([mirrored])
                return
            for folder in self._session.folders("offline-run", tracked.id):
                # What `wandb sync` leaves behind: it will not send these rows a second time.
                (folder / f"run-{tracked.id}.wandb.synced").touch()
        mirrored.end = end
        ledger = Ledger(
            project=self._project,
            mode="online" if mirrored.online else "offline",
            status=end.status,
            rows=mirrored.rows.lines,
            bytes=mirrored.rows.size,
            complete=True,
            wandb_dir=wandb_dir,
            tags=tuple(dict.fromkeys([*tracked.tags, *mirrored.others.tags])),
            keys={**mirrored.others.keys, **tracked.keys},
        )
        self._settling.append((time.monotonic(), tracked.directory, ledger))

    def _settle(self, before: float) -> None:
        """Write the ledgers of the runs that were finished before this time."""
        while self._settling and self._settling[0][0] <= before:
            _, directory, ledger = self._settling.pop(0)
            try:
                write_ledger(directory, ledger)
            except OSError as error:
                self._warn(line_of(error))

    def _go_offline(self, error: Exception) -> None:
        """Stop using the server. Open runs are partly uploaded: an offline copy would send their rows twice."""
        self._mode = "offline"
        self._warn(f"{line_of(error)}{advice(error)}", "the other runs are written offline")
        self._postpone([mirrored for mirrored in self._runs if mirrored.run is not None])
        # A run that could not be opened keeps its id in use until wandb's process has ended.
        self._session.end(1.0)
        self._session.begin()

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _warn(self, problem: str, consequence: str = "no run is harmed, `ablate sync` mirrors the rest later") -> None:
        kind = problem.partition(":")[0]  # one line for a thousand runs that fail alike
        if kind not in self._reported:
            self._reported.add(kind)
            self._report(f"W&B: {problem}; {consequence}")


def _with_nan(row: Row) -> dict[str, Any]:
    """The row with NaN where the file has null, which ends a diverged curve in W&B.

    Without the key, the summary would keep its last finite value.
    """
    return {name: math.nan if value is None else value for name, value in row.items()}


ADVICE = {
    r"\b401\b|unauthorized|invalid api key|API key (verification|configured)": (
        "the server refuses the API key: `wandb login --relogin` saves another, WANDB_API_KEY goes before it"
    ),
    r"\b403\b|permission denied|forbidden": "the key may not write there: see tracking.entity and tracking.project",
    r"\b404\b|not found": "there is no such entity or project: see tracking.entity and tracking.project",
    r"\b429\b|rate limit": "the server limits requests: wait before `ablate sync`",
    r"deadline|timed? ?out|refused|reset|unreachable|EOF|no such host": (
        "the server does not answer, or limits requests: try `ablate sync` later"
    ),
}
"""By what an error says, what to do about it."""


def advice(error: Exception) -> str:
    """What to do about an error of W&B, to be put behind it; empty where that is not known."""
    found = (what for pattern, what in ADVICE.items() if re.search(pattern, str(error), re.IGNORECASE))
    return f" ({what})" if (what := next(found, None)) else ""


def line_of(error: Exception) -> str:
    """What went wrong, in one line without secrets."""
    text = redact(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:200].rstrip('.')}"
