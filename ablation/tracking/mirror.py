"""One background thread that follows run directories and replays them into W&B.

The run directories are the truth. Whatever goes wrong here costs curves on a server, never a result: it is reported in
one line, and a later replay mirrors what is missing.
"""

import math
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..store.rows import METRICS, RestartedError, Row, RowReader
from .follow import Ledger, MirroredEnd, read_ledger, read_outcome, write_ledger
from .mode import Mode
from .session import ENVIRONMENT, SETTINGS, Session, TrackedRun, set_environment

POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0  # finish() returns before the last records are on disk; they follow within the flush interval
INTERRUPTED = 255  # W&B shows this exit code as "killed"


@dataclass
class _Following:
    """A run and how far its mirror has come."""

    tracked: TrackedRun
    rows: RowReader = field(init=False)
    run: Any = None  # the open W&B run
    online: bool = False
    first: int = 0  # rows before this one are on the server already
    lost_uploads: int = 0  # of the session, when the run was opened
    outcome: MirroredEnd | None = None  # set once the run is mirrored wholly
    left: bool = False  # to a later replay

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.rows = RowReader(self.tracked.directory / METRICS)


class Mirror:
    """Mirrors runs into W&B while they are trained, and those that ended before.

    Args:
        runs: the runs to follow.
        directory: where the folder `wandb` goes.
        project: the W&B project.
        mode: from `resolve_mode`.
        report: is called with one line when something goes wrong, from the mirror's thread.
    """

    def __init__(
        self, runs: Sequence[TrackedRun], directory: Path, project: str, mode: Mode, report: Callable[[str], None]
    ) -> None:
        self._followings = [_Following(run) for run in runs]
        self._directory = directory
        self._project = project
        self._mode = mode.mode
        self._report = report
        self._session = Session(directory, project)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._settling: list[tuple[float, Path, Ledger]] = []
        self._reported: set[str] = set()
        self._url: str | None = None
        self._environment: dict[str, str | None] = {}

    def start(self) -> None:
        """Start following; returns at once. Until `close`, a few environment variables keep wandb quiet."""
        if self._mode == "disabled" or self._thread is not None:
            return
        self._environment = set_environment(ENVIRONMENT)  # here: in the thread it would race with starting processes
        self._thread = threading.Thread(target=self._work, name="wandb-mirror", daemon=True)
        self._thread.start()

    def close(self, patience: float = 60.0) -> None:
        """Replay what is left and finish all W&B runs; what takes longer than `patience` seconds is left for later."""
        if self._thread is None or self._closing.is_set():
            return
        self._deadline = time.monotonic() + patience
        self._closing.set()
        try:
            # Nothing begins after the deadline, but what began before it may take as long as its own timeout.
            self._thread.join(patience + SETTINGS["init_timeout"] + SETTINGS["finish_timeout"])
        finally:  # also where the user interrupts the wait
            if self._thread.is_alive():
                self._warn("wandb did not end in time")
                self._session.end(0.1)  # else wandb's exit handler would wait for ever
            set_environment(self._environment)

    def summary(self) -> str:
        """Return one line for the user: where the curves are."""
        if self._mode == "disabled":
            return "W&B: off"
        folder = shlex.quote(str(self._directory / "wandb"))
        line = f"W&B offline: view with `wandb leet {folder}`, upload with `wandb sync {folder}`"
        if self._mode == "online":
            line = f"W&B: {self._url or f'nothing new for project {self._project}'}"
        left = sum(following.left for following in self._followings)
        return f"{line}; {left} of {len(self._followings)} runs are left to `ablate sync`" if left else line

    # All that follows runs in the thread.

    def _work(self) -> None:
        try:
            self._session.begin()
            closing = False
            while not closing:
                closing = self._closing.is_set()  # before the last look, so that it sees all that was written
                self._each(self._followings, self._look)
                self._settle(time.monotonic() - SETTLE_SECONDS)
                if not closing:
                    self._closing.wait(POLL_SECONDS)
            self._each((following for following in self._followings if following.run is not None), self._interrupt)
            if self._is_late():
                self._warn("closing took too long")
                self._leave(self._followings)
        except Exception as error:  # wandb is absent or broken
            self._warn(_line(error))
            self._leave(self._followings)
        finally:
            if self._session.end(max(1.0, min(60.0, self._deadline - time.monotonic()))):
                self._settle(time.monotonic())

    def _each(self, followings: Iterable[_Following], action: Callable[[_Following], None]) -> None:
        for following in followings:
            if following.left or self._is_late():
                continue
            try:
                action(following)
            except Exception as error:  # whatever wandb raises costs this run's mirror, not the others
                self._warn(_line(error))
                self._leave([following])

    def _leave(self, followings: Iterable[_Following]) -> None:
        """Give up on those that are not mirrored wholly: a later replay begins them again."""
        for following in followings:
            following.run, following.left = None, following.outcome is None

    def _look(self, following: _Following) -> None:
        directory, known = following.tracked.directory, following.outcome
        if (known is not None and known.status != "failed") or not directory.exists():
            return
        outcome = read_outcome(directory)  # before the rows: none is written after it
        if known is not None:
            if outcome == known:
                return
            following.outcome = None  # a failed run is tried again
            following.restart()
        if following.run is None:
            if outcome is not None and read_ledger(directory).covers(directory, self._project, self._mode, outcome):
                following.outcome = outcome
                return
            if outcome is None and not (directory / METRICS).exists():
                return
            self._open(following)
        try:
            rows = following.rows.read()
        except RestartedError:
            self._begin_again(following)
            self._look(following)
            return
        for step, row in rows:
            if self._is_late():
                return
            if step >= following.first:
                following.run.log(_with_nan(row), step=step, commit=True)
        if outcome is not None:
            self._finish(following, outcome)

    def _open(self, following: _Following) -> None:
        tracked = following.tracked
        online_folders = self._session.folders("run", tracked.id)
        if self._mode == "online":
            try:
                following.run = self._session.open(tracked, "online")
            except Exception as error:
                self._go_offline(error)
                for folder in self._session.folders("run", tracked.id) - online_folders:
                    shutil.rmtree(folder, ignore_errors=True)
        following.online = following.run is not None
        if following.online:
            following.first, self._url = following.run.starting_step, following.run.project_url
        else:
            ledger = read_ledger(tracked.directory)  # it may name a copy that another project still needs
            kept = ledger.wandb_dir if ledger.complete and ledger.project != self._project else None
            for folder in self._session.folders("offline-run", tracked.id):
                if folder.name != kept:
                    shutil.rmtree(folder)
            following.first, following.run = 0, self._session.open(tracked, "offline")
        following.lost_uploads = self._session.lost_uploads

    def _begin_again(self, following: _Following) -> None:
        """Replay a run that is being trained again from its first row."""
        if following.online:
            # The server keeps its rows for ever, and a run that is trained again writes the same ones.
            following.first = max(following.first, following.rows.lines)
        else:
            self._interrupt(following)
        following.restart()

    def _interrupt(self, following: _Following) -> None:
        self._end(following, INTERRUPTED)

    def _end(self, following: _Following, exit_code: int) -> str | None:
        """Finish the W&B run; return the name of its folder, None where the server was lost."""
        run = following.run
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError as error:
            self._go_offline(error)  # leaves this run too
            return None
        following.run = None
        return Path(run.dir).parent.name

    def _finish(self, following: _Following, outcome: MirroredEnd) -> None:
        tracked = following.tracked
        following.run.summary.update(dict(outcome.summary))
        wandb_dir = self._end(following, outcome.exit_code)
        if wandb_dir is None:
            return
        if following.online:
            if self._session.lost_uploads > following.lost_uploads:
                self._warn("the server refused rows")
                self._leave([following])
                return
            for folder in self._session.folders("offline-run", tracked.id):
                # What `wandb sync` leaves behind: it will not send these rows a second time.
                (folder / f"run-{tracked.id}.wandb.synced").touch()
        following.outcome = outcome
        ledger = Ledger(
            project=self._project,
            mode="online" if following.online else "offline",
            status=outcome.status,
            rows=following.rows.lines,
            bytes=following.rows.size,
            complete=True,
            wandb_dir=wandb_dir,
        )
        self._settling.append((time.monotonic(), tracked.directory, ledger))

    def _settle(self, before: float) -> None:
        """Write the ledgers of the runs that were finished before this time."""
        while self._settling and self._settling[0][0] <= before:
            _, directory, ledger = self._settling.pop(0)
            try:
                write_ledger(directory, ledger)
            except OSError as error:
                self._warn(_line(error))

    def _go_offline(self, error: Exception) -> None:
        """Give the server up. Runs that were open are partly uploaded: an offline copy would send their rows twice."""
        self._mode = "offline"
        self._warn(_line(error), "the other runs are written offline")
        self._leave([following for following in self._followings if following.run is not None])
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
    """NaN where the file has null: a diverged curve then ends in NaN in W&B; without the key, the summary would keep its
    last finite value.
    """
    return {name: math.nan if value is None else value for name, value in row.items()}


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:200].rstrip('.')}"
