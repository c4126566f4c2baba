"""How the cells stand at equal tokens, for a terminal: what ``ablate status`` and the live view show below the rest."""

# DOC-TO-MERGE: 'The live view of a grid that is being trained: a bar for the whole, the runs in work, how the cells stand so far.'

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from ..compare.progress import METRIC, PARTIAL, GridProgress, compare_progress, loss_line
from ..grid.plan import Plan, Run
from ..store.results import FINISHED, RunEnd, read_rows
from ..store.runs import Store
from .labels import plain
from .numbers import ABSENT, short

EVERY = 2.0
"""Seconds between two looks."""


def cell_progress(found: GridProgress, over: bool, lines: int | None = None) -> list[RenderableType]:
    """A table, below which it is marked as partial unless all is ``over``.

    In so many ``lines`` stand the baseline and the cells that fit, each in one line; nothing where no two cells do.
    """
    marked = found.tokens is not None and not over
    shown = len(found.cells) if lines is None else fitting(len(found.cells), lines - marked)
    if not shown:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold", ratio=1)
    heading = "loss" if found.tokens is None else f"loss at {short(found.tokens)} tokens"
    for title in ("runs", heading, "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in found.cells[:shown]:
        loss = ABSENT if cell.loss is None else f"{cell.loss:.4f}"
        difference = "" if cell.difference is None else f"{cell.difference:+.4f}"
        label = plain(cell.label)
        table.add_row(
            Text(label) if lines is None else one_line(label), f"{cell.done}/{cell.planned}", loss, difference
        )
    if shown < len(found.cells):
        table.add_row(Text(f"… and {len(found.cells) - shown} more", "dim"))
    note = Text(PARTIAL, "yellow") if lines is None else one_line(PARTIAL, "yellow")
    return [table, note] if marked else [table]


def fitting(n_cells: int, lines: int) -> int:
    """How many cells find room below a heading, and above a line that tells of the rest; 0 where no two do."""
    shown = n_cells if n_cells + 1 <= lines else lines - 2
    return shown if shown >= min(2, n_cells) else 0


def one_line(text: str, style: str = "") -> Text:
    """Cut where there is no room. A column of such texts, unlike one that may not wrap, gives way to the others."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


UNIT = 1000
"""Parts of a run on the overall bar."""
REFRESH = 2
"""Pictures a second: each takes some milliseconds from the runs."""


@dataclass
class Work:
    """A run in work, as far as its file of rows tells."""

    label: str
    metrics: Path
    n_steps: int
    started: float
    step: int = 0
    loss: float | None = None
    speed: float | None = None
    offset: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(tokens, loss) of every evaluation."""

    def look(self) -> None:
        """Read the rows that came since the last look; a torn last line waits for the next."""
        try:
            with self.metrics.open("rb") as stream:
                stream.seek(self.offset)
                block = stream.read()
        except FileNotFoundError:
            return
        whole, newline, _ = block.rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
        for row in rows:
            self.step = row["step"]
            if "train/loss" in row:
                self.loss, self.speed = row["train/loss"], row["train/tokens_per_second"]
        self.losses += loss_line(rows)


class View:
    """Looks on while a grid is trained; on a terminal as a live picture, elsewhere as a line per run.

    Everything goes to standard error, so that standard output holds the table alone.
    """

    def __init__(self, plan: Plan, store: Store, n_runs: int, workers: int, console: Console | None = None):
        self.store, self.n_runs, self.workers = store, n_runs, workers
        self.console = console or Console(file=sys.stderr)
        self.manifest = plan.manifest()
        self.labels = {run.id: plain(f"{cell.label} seed={run.seed}") for cell in plan.cells for run in cell.runs}
        self.losses: dict[str, list[tuple[float, float]]] = {}
        self.done: set[str] = set()
        self.standing: GridProgress | None = None
        self.due = 0.0
        self.drawn = SegmentLines([])
        self.drawn_for: tuple[GridProgress, int, int] | None = None
        self.states = Counter[str]()
        self.work: dict[str, Work] = {}
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
        self.live = Live(console=self.console, get_renderable=self.render, refresh_per_second=REFRESH, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        else:
            self.say(f"{self.n_runs} runs to train, {self.workers} at a time")
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def started(self, run: Run) -> None:
        metrics = self.store.directory(run.id) / "metrics.jsonl"
        work = Work(self.labels[run.id], metrics, run.config.training.max_steps, time.monotonic())
        self.work[run.id], self.losses[run.id] = work, work.losses
        self.done.discard(run.id)

    def ended(self, run: Run, end: RunEnd, again: bool) -> None:
        work = self.work.pop(run.id)
        work.look()
        if end.status in FINISHED:
            self.done.add(run.id)
        if not again:
            self.states[end.status] += 1
        done = f"{self.states.total()}/{self.n_runs}"
        self.bar.update(self.task, done=done)
        if end.status == "completed" and self.live.is_started:
            return
        reason = f": {plain(end.reason)}" if end.reason else ""
        once_more = "; tried once more" if again else ""
        seconds = time.monotonic() - work.started
        self.say(f"{done} {work.label}: {end.status} in {seconds:.1f} s{reason}{once_more}")

    def tick(self) -> None:
        for work in self.work.values():
            work.look()
        partly = sum(work.step / work.n_steps for work in self.work.values())
        self.bar.update(self.task, completed=(self.states.total() + partly) * UNIT)
        if self.console.is_terminal and time.monotonic() >= self.due:
            self.compare()
            self.due = time.monotonic() + EVERY

    def compare(self) -> None:
        """See how the cells stand. Runs that were never in work here are read once, the others as their rows come."""
        for run_id in self.labels.keys() - self.losses.keys():
            self.losses[run_id] = loss_line(read_rows(self.store.directory(run_id) / "metrics.jsonl", having=METRIC))
            if self.store.status(run_id) in FINISHED:
                self.done.add(run_id)
        self.standing = compare_progress(self.manifest, self.losses, self.done)

    def say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def render(self) -> Group:
        parts: list[RenderableType] = [self.bar]
        works = list(self.work.values())  # a copy: this is drawn in a thread of its own
        if works:
            parts.append(in_work(works))
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "none ended yet"
        last = Text(f" {ended}; Ctrl-C stops, the same command goes on", style="dim")
        if self.standing is not None and self.standing.tokens is not None:
            above, below = 1 + (1 + len(works) if works else 0), len(last.wrap(self.console, self.console.width))
            parts.append(self.draw(self.standing, self.console.width, self.console.height - above - below))
        return Group(*parts, last)

    def draw(self, found: GridProgress, width: int, lines: int) -> SegmentLines:
        """How the cells stand, after an empty line; drawn anew only where it has changed, as drawing costs the most."""
        wanted = (found, width, lines)
        if wanted != self.drawn_for:
            table = cell_progress(found, over=False, lines=lines - 1)
            drawn = self.console.render_lines(Group(Text(), *table), pad=False) if table else []
            self.drawn, self.drawn_for = SegmentLines(drawn, new_lines=True), wanted
        return self.drawn


def in_work(works: Sequence[Work]) -> Table:
    """A line for each."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("in work", ratio=1)
    for heading in ("step", "loss", "tokens/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for work in works:
        loss = "" if work.loss is None else f"{work.loss:.4f}"
        speed = "" if work.speed is None else f"{work.speed:,.0f}"
        table.add_row(one_line(work.label), f"{work.step}/{work.n_steps}", loss, speed)
    return table
