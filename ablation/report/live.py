"""A grid while it is trained: a bar for all runs, a line for each running one, the losses so far at equal tokens.

``ablate run`` shows it live; ``ablate status`` shows the table of losses, which is never more than partial.
"""

import contextlib
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from ..compare.progress import METRIC, PARTIAL, CellProgress, GridProgress, compare_progress, loss_line
from ..errors import StorageError
from ..stats.contrast import plural
from ..store.attempts import host_of, is_running, run_of
from ..store.results import FINISHED, RunEnd
from ..store.rows import METRICS, RestartedError, RowReader
from ..store.runs import Store
from .labels import plain
from .many import words_and_numbers
from .numbers import ABSENT, short
from .resizable import Frames

if TYPE_CHECKING:
    from ..grid.plan import Plan, Run

LONG_LOOK = 0.1
"""Seconds; a look at the runs that takes longer, as at thousands, is followed by four times as long without one."""
EVERY = 2.0
"""Seconds between two comparisons of the cells."""
REFRESH = 2
"""Redraws per second: each takes some milliseconds of processor time from the runs."""
NARROW = 60
"""Columns of a terminal below which some are left out."""
UNIT = 1000
"""The length of one run on the bar."""


def cell_progress(
    progress: GridProgress, over: bool, lines: int | None = None, width: int = NARROW
) -> list[RenderableType]:
    """A table of the cells at equal tokens, followed by a warning that it is partial unless all is ``over``.

    Within ``lines`` it holds the baseline and as many cells as fit, in one line each; nothing where not even two fit.
    Where that is narrow, labels have the room of the counts of runs and of long titles.
    """
    partial = progress.tokens is not None and not over
    shown = len(progress.cells) if lines is None else fitting(len(progress.cells), lines - partial)
    if not shown:
        return []
    loss = "loss" if progress.tokens is None else f"loss at {short(progress.tokens)} tokens"
    titles, rows = ["cell", "runs", loss, "difference"], [_progress_row(cell) for cell in progress.cells[:shown]]
    if lines is None:
        table = words_and_numbers(titles, rows)
        return [table, Text(PARTIAL, "yellow")] if partial else [table]
    if width < NARROW:
        titles = ["cell", "loss", "difference"]
        rows = [[label, *numbers] for label, _, *numbers in rows]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(titles[0], ratio=1)
    for title in titles[1:]:
        table.add_column(title, justify="right", no_wrap=True)
    for label, *numbers in rows:
        table.add_row(one_line(label), *numbers)
    if shown < len(progress.cells):
        table.add_row(Text(f"… and {len(progress.cells) - shown} more", "dim"))
    return [table, one_line(PARTIAL, "yellow")] if partial else [table]


def _progress_row(cell: CellProgress) -> list[str]:
    """Its texts: label, finished runs, loss, difference to the baseline."""
    loss = ABSENT if cell.loss is None else f"{cell.loss:.4f}"
    difference = "" if cell.difference is None else f"{cell.difference:+.4f}"
    return [plain(cell.label), f"{cell.done}/{cell.planned}", loss, difference]


def fitting(n_cells: int, lines: int) -> int:
    """How many cells fit below a heading and above a line on the remaining ones; 0 where not even two do."""
    shown = n_cells if n_cells + 1 <= lines else lines - 2
    return shown if shown >= min(2, n_cells) else 0


def one_line(text: str, style: str = "") -> Text:
    """A text that is cut where it does not fit; unlike a column with ``no_wrap``, its column can become narrower."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


@dataclass
class RunningRun:
    """A run that is to be trained, as far as the rows in its file say."""

    label: str
    rows: RowReader
    n_steps: int
    started: float
    step: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(tokens, loss) of every evaluation."""
    directory: Path | None = None
    """Where it is trained; None as long as it is queued."""
    host: str | None = None
    """The machine, where it is another one."""

    def update(self, directory: Path) -> None:
        """Read the rows written since the last update; ``directory`` is where they are now."""
        if directory != self.directory:
            host = host_of(directory)
            self.directory, self.host = directory, None if host == platform.node() else host
        self.rows.move(directory / METRICS)
        try:
            rows = [row for _, row in self.rows.read()]
        except RestartedError:  # its file is about to be written anew, and then so is this
            return
        for row in rows:
            self.step = row["step"]
            if "train/loss" in row:
                self.loss, self.tokens_per_second = row["train/loss"], row["train/tokens_per_second"]
        self.losses += loss_line(rows)


class View:
    """Follows the training of a grid: on a terminal as a live display, elsewhere with one line per run.

    Everything goes to standard error, so that standard output holds only the table.
    """

    def __init__(self, plan: "Plan", store: Store, n_runs: int, workers: int, console: Console | None = None):
        self.store, self.n_runs, self.workers = store, n_runs, min(workers, n_runs)
        self.console = console or Console(file=sys.stderr)
        self.manifest = plan.manifest()
        self.labels = {run.id: plain(f"{cell.label} seed={run.seed}") for cell in plan.cells for run in cell.runs}
        self.losses: dict[str, list[tuple[float, float]]] = {}
        self.finished: set[str] = set()
        self.progress: GridProgress | None = None
        self.compare_at, self.look_at = 0.0, 0.0
        self.shown = SegmentLines([])
        self.shown_for: tuple[GridProgress, int, int] | None = None
        self.statuses = Counter[str]()
        self.running: dict[str, RunningRun] = {}
        attempts = [each for run_id, of_run in store.attempts().items() if run_id in self.labels for each in of_run]
        self.over = {each for each in attempts if not is_running(each)}
        """Directories of attempts at which nobody is any more."""
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]} runs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
        )
        self.task = self.bar.add_task(plan.name, total=n_runs * UNIT, done=f"0/{n_runs}")
        self.frames = Frames(self.console)
        self.live = Live(console=self.console, get_renderable=self.render, refresh_per_second=REFRESH, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        else:
            self.print(f"{plural(self.n_runs, 'run')} to train, at most {self.workers} at a time")
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def started(self, run: "Run") -> None:
        rows = RowReader(self.store.directory(run.id) / METRICS)
        running = RunningRun(self.labels[run.id], rows, run.config.training.max_steps, time.monotonic())
        self.running[run.id], self.losses[run.id] = running, running.losses
        self.finished.discard(run.id)

    def ended(self, run: "Run", end: RunEnd, again: bool) -> None:
        running = self.running.pop(run.id)
        self.over |= {running.directory} if again and running.directory else set()
        with contextlib.suppress(OSError):
            for directory in self.store.live_directories([run.id]).values():
                running.update(directory)
        if end.status in FINISHED:
            self.finished.add(run.id)
        if not again:
            self.statuses[end.status] += 1
        done = f"{self.statuses.total()}/{self.n_runs}"
        self.bar.update(self.task, done=done)
        if end.status == "completed" and self.live.is_started:
            return
        reason = f": {plain(end.reason)}" if end.reason else ""
        retried = "; tried once more" if again else ""
        seconds = time.monotonic() - running.started
        self.print(f"{done} {running.label}: {end.status} in {seconds:.1f} s{reason}{retried}")

    def tick(self) -> None:
        began = time.monotonic()
        if began >= self.look_at:
            with contextlib.suppress(OSError):  # of a network file system, which passes
                for run_id, directory in self.store.live_directories(self.running).items():
                    if directory not in self.over:
                        self.follow(self.running[run_id], directory)
            ended = time.monotonic()
            self.look_at = ended + 4 * (ended - began) if ended - began > LONG_LOOK else 0.0
        fractions = sum(running.step / running.n_steps for running in self.running.values())
        self.bar.update(self.task, completed=(self.statuses.total() + fractions) * UNIT)
        if self.console.is_terminal and time.monotonic() >= self.compare_at:
            with contextlib.suppress(OSError, StorageError):
                self.compare()
            self.compare_at = time.monotonic() + EVERY

    def follow(self, running: RunningRun, directory: Path) -> None:
        """Read what is new of a run; say so where its launcher has begun it anew, as after preemption."""
        before = running.directory
        running.update(directory)
        if before is not None and directory != before and directory.name != run_of(before):  # which is its end
            self.print(f"{running.label}: interrupted, and begun again")

    def compare(self) -> None:
        """Compare the cells so far. Runs that were not started here are read once, the others as their rows come."""
        for run_id in self.labels.keys() - self.losses.keys():
            self.losses[run_id] = loss_line(self.store.rows(run_id, having=METRIC))
            if self.store.status(run_id) in FINISHED:
                self.finished.add(run_id)
        self.progress = compare_progress(self.manifest, self.losses, self.finished)

    def print(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def render(self) -> RenderableType:
        """The next frame of the live display."""
        return self.frames.frame(self.display())

    def display(self) -> Group:
        parts: list[RenderableType] = [self.bar]
        known = list(self.running.values())  # a copy: this runs in a thread of its own
        running = [each for each in known if each.directory is not None]
        if running:
            parts.append(running_runs(running, self.console.height - 4))
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items())) or "none ended yet"
        queued = f", {len(known) - len(running)} queued" if len(known) > len(running) else ""
        last = Text(f" {ended}{queued}; Ctrl-C stops, the same command goes on", style="dim")
        if self.progress is not None and self.progress.tokens is not None:
            above, below = 1 + (1 + len(running) if running else 0), len(last.wrap(self.console, self.console.width))
            parts.append(self.cells(self.progress, self.console.width, self.console.height - above - below))
        return Group(*parts, last)

    def cells(self, progress: GridProgress, width: int, lines: int) -> SegmentLines:
        """The cells so far, after an empty line; laid out again only after a change, since that costs the most."""
        shown_for = (progress, width, lines)
        if shown_for != self.shown_for:
            table = cell_progress(progress, over=False, lines=lines - 1, width=width)
            lines_shown = self.console.render_lines(Group(Text(), *table), pad=False) if table else []
            self.shown, self.shown_for = SegmentLines(lines_shown, new_lines=True), shown_for
        return self.shown


def running_runs(runs: Sequence[RunningRun], lines: int) -> Table:
    """A line for each running run, of as many as fit."""
    table = Table(box=None, padding=(0, 1))
    hosts = any(run.host for run in runs)
    table.add_column("running", ratio=1)
    for heading in (*(["on"] if hosts else []), "step", "loss", "tokens/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = runs if len(runs) <= lines else runs[: max(0, lines - 1)]
    for run in shown:
        loss = "" if run.loss is None else f"{run.loss:.4f}"
        speed = "" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}"
        host = [run.host or "here"] if hosts else []
        table.add_row(one_line(run.label), *host, f"{run.step}/{run.n_steps}", loss, speed)
    if len(shown) < len(runs):
        table.add_row(Text(f"… and {len(runs) - len(shown)} more", "dim"))
    return table
