"""``ablate bench``: the costs of a grid's cells, timed interleaved, apart from training."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .common import DONE, SOME_FAILED, AsJson, GridFile, Plugins, Runs, Settings, message, prints_aside, words

if TYPE_CHECKING:
    from ..grid.plan import Plan

KINDS = ("training_step", "prefill", "decode")

Processes = Annotated[int, typer.Option("--processes", min=1, help="Fresh processes: the replicates.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds in each, in which every cell is timed once.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the order in each round; no measure depends on it.")]
Only = Annotated[
    str, typer.Option("--only", metavar="WHICH", help=f"What to time: {', '.join(KINDS)}; separated by commas.")
]
Lengths = Annotated[
    str, typer.Option("--lengths", metavar="TOKENS", help="Lengths for prefill and decode; separated by commas.")
]


def bench(
    grid: GridFile,
    settings: Settings = [],
    processes: Processes = 5,
    rounds: Rounds = 10,
    seed: Seed = 0,
    only: Only = "training_step,prefill,decode",
    lengths: Lengths = "512,2048",
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Time the cells of a grid interleaved: training step, prefill, decoding; count bytes of cache and memory.

    Trains nothing. Writes bench.json into the folder of the grid, which `ablate table` reads.
    """
    from ..api.study import Study
    from ..bench.processes import ProcessError
    from ..report.bench import show

    kinds, tokens = words("--only", only, KINDS), _lengths(lengths)
    study = Study(grid, settings, plugins=plugins, runs=runs)
    try:
        with Bar() as bar, prints_aside():
            result = study.bench([kind for kind in KINDS if kind in kinds], tokens, rounds, processes, seed, bar)
    except ProcessError as error:
        message(f"ablate: {error}; nothing was written")
        return SOME_FAILED
    if as_json:
        typer.echo(json.dumps(result))
    else:
        show(result)
        typer.echo(f"Written to {study.store.grid_directory(result['grid']) / 'bench.json'}")
    return DONE


def _lengths(text: str) -> list[int]:
    lengths = words("--lengths", text)
    for word in lengths:
        if not word.isascii() or not word.isdigit() or int(word) < 2:
            raise InputError(f"--lengths {word}: must be numbers of tokens from 2, such as 512,2048")
    return list(dict.fromkeys(map(int, lengths)))


class Bar:
    """A bar on standard error over the rounds of all processes: the listener of ``Study.bench``."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console(file=sys.stderr), expand=True, transient=True)
        self.n_processes = self.n_rounds = 0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress.live.is_started:  # else it would print an empty line
            self.progress.stop()

    def started(self, plan: "Plan", n_processes: int, n_rounds: int) -> None:
        self.n_processes, self.n_rounds = n_processes, n_rounds
        message(f"{plan.name}: {len(plan.cells)} cells, {n_rounds} rounds in each of {n_processes} processes")
        self.progress.start()
        self.task = self.progress.add_task("getting ready", total=n_processes * n_rounds)

    def estimated(self, seconds: float) -> None:
        duration = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        self.progress.console.print(f"it will take about {duration}", highlight=False)

    def timed(self, process: int, n_rounds: int) -> None:
        description = f"process {process + 1} of {self.n_processes}"
        self.progress.update(self.task, description=description, completed=process * self.n_rounds + n_rounds)
