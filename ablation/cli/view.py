"""The live view of a grid that is being trained: a bar for the whole, a line for each run in work."""

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..grid import Plan, Run
from ..report.words import plain
from ..store.runs import Store
from ..store.states import Ending

UNIT = 1000
"""Parts of a run on the overall bar."""


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
        for line in whole.splitlines():
            row: dict[str, Any] = json.loads(line)
            self.step = row["step"]
            if "train/loss" in row:
                self.loss, self.speed = row["train/loss"], row["train/tokens_per_second"]


class View:
    """Looks on while a grid is trained; on a terminal as a live picture, elsewhere as a line per run.

    Everything goes to standard error, so that standard output holds the table alone.
    """

    def __init__(self, plan: Plan, store: Store, n_runs: int, workers: int, console: Console | None = None):
        self.store, self.n_runs, self.workers = store, n_runs, workers
        self.console = console or Console(file=sys.stderr)
        self.labels = {run.id: plain(f"{cell.label} seed={run.seed}") for cell in plan.cells for run in cell.runs}
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
        self.live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True)

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
        self.work[run.id] = Work(self.labels[run.id], metrics, run.config.training.max_steps, time.monotonic())

    def ended(self, run: Run, ending: Ending, again: bool) -> None:
        work = self.work.pop(run.id)
        if not again:
            self.states[ending.state] += 1
        done = f"{self.states.total()}/{self.n_runs}"
        self.bar.update(self.task, done=done)
        if ending.state == "completed" and self.live.is_started:
            return
        reason = f": {plain(ending.reason)}" if ending.reason else ""
        once_more = "; tried once more" if again else ""
        seconds = time.monotonic() - work.started
        self.say(f"{done} {work.label}: {ending.state} in {seconds:.1f} s{reason}{once_more}")

    def tick(self) -> None:
        for work in self.work.values():
            work.look()
        partly = sum(work.step / work.n_steps for work in self.work.values())
        self.bar.update(self.task, completed=(self.states.total() + partly) * UNIT)

    def say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def render(self) -> Group:
        table = Table(box=None, padding=(0, 1), show_header=bool(self.work))
        table.add_column("in work", overflow="ellipsis", no_wrap=True, ratio=1)
        for heading in ("step", "loss", "tokens/s"):
            table.add_column(heading, justify="right", no_wrap=True)
        for work in list(self.work.values()):  # a copy: this is drawn in a thread of its own
            loss = "" if work.loss is None else f"{work.loss:.4f}"
            speed = "" if work.speed is None else f"{work.speed:,.0f}"
            table.add_row(Text(work.label), f"{work.step}/{work.n_steps}", loss, speed)
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "none ended yet"
        return Group(self.bar, table, Text(f" {ended}; Ctrl-C stops, the same command goes on", style="dim"))
