"""``ablate bench``: the costs of a grid's cells, timed by turns, apart from training."""

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, nearest
from ..study.manifest import load_plan
from .arguments import AsJson, GridFile, Plugins, Runs, Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..grid.plan import Plan

KINDS = ("training_step", "prefill", "decode")
ALL = ",".join(KINDS)
FAILED = 1

Processes = Annotated[int, typer.Option("--processes", min=1, help="Fresh processes: the replicates.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds in each, in which every cell has a turn.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the order of the turns, which no measure depends on.")]
Only = Annotated[str, typer.Option("--only", metavar="WHICH", help="Of training_step, prefill, decode; with commas.")]
Lengths = Annotated[str, typer.Option("--lengths", metavar="TOKENS", help="Of prefill and decode; with commas.")]


def bench(
    grid: GridFile,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    processes: Processes = 5,
    rounds: Rounds = 10,
    seed: Seed = 0,
    only: Only = ALL,
    lengths: Lengths = "512,2048",
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Time the cells of a grid by turns: training step, prefill, decoding; count bytes of cache and memory.

    Trains nothing. Writes bench.json into the folder of the grid, which `ablate table` reads.
    """
    from ..store.lock import refuse_if_held

    kinds, n_tokens = _kinds(only), _lengths(lengths)
    refuse_if_held(runs)
    plan = load_plan(grid, settings, 1, plugins)
    from ..store.runs import Store

    store = Store(runs)
    labels = [cell.label for cell in plan.cells]
    with store.lock():
        try:
            told = _measure(plan, kinds, n_tokens, rounds, processes, seed)
        except _ProcessError as error:
            typer.echo(f"ablate: {error}; nothing was written", err=True)
            return FAILED
        from ..bench.measure import summarize
        from ..store.files import write_json

        result = summarize(plan.name, labels, rounds, told, seed)
        if not any(any(cell["measures"].values()) for cell in result["cells"]):
            raise InputError(f"no cell could be timed: {next(iter(result['cells'][0]['notes'].values()))}")
        runs_of = {cell.label: cell.runs[0].id for cell in plan.cells}
        for cell in result["cells"]:
            cell["run"] = runs_of[cell["label"]]  # by which a table knows whether it is still about the same cell
        file = store.grid_directory(plan.name) / "bench.json"
        write_json(file, result)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        from ..report.bench import show

        show(result)
        typer.echo(f"Written to {file}")
    return 0


def _kinds(only: str) -> list[str]:
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    for word in wanted or [only]:
        if word not in KINDS:
            raise InputError(f"--only {word}: not measured; allowed: {', '.join(KINDS)}{nearest(word, KINDS)}")
    return [kind for kind in KINDS if kind in wanted]


def _lengths(lengths: str) -> list[int]:
    words = [word.strip() for word in lengths.split(",") if word.strip()]
    for word in words or [lengths]:
        if not word.isascii() or not word.isdigit() or int(word) < 2:
            raise InputError(f"--lengths {word}: numbers of tokens from 2 are wanted, such as 512,2048")
    return list(dict.fromkeys(int(word) for word in words))


class _ProcessError(RuntimeError):
    """One of the timing processes came to an end before it had told what it was to tell."""


def _measure(
    plan: "Plan", kinds: list[str], lengths: list[int], rounds: int, processes: int, seed: int
) -> list[dict[str, Any]]:
    """What each process tells, one after another: two at once would time each other."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ..bench.measure import interleaving_seed
    from ..config.layered import dump

    task = {
        "plugins": [plugin.file for plugin in plan.plugins],
        "experiments": {cell.label: dump(cell.runs[0].config) for cell in plan.cells},
        "kinds": kinds,
        "lengths": lengths,
        "n_rounds": rounds,
        "order": interleaving_seed(seed, (cell.runs[0].id for cell in plan.cells)),
    }
    n_cells = len(plan.cells)
    typer.echo(f"{plan.name}: {n_cells} cells, {rounds} rounds in each of {processes} processes", err=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), expand=True, transient=True) as bar:
        bar.add_task("getting ready", total=processes * rounds)
        return [_in_fresh_process({**task, "process": process}, processes, bar) for process in range(processes)]


def _in_fresh_process(task: dict[str, Any], processes: int, bar: "Progress") -> dict[str, Any]:
    """What ``_work`` returns for ``task``. The process is gone afterwards, whatever happens here."""
    from ..launch.local import interrupt_blocked, main_hidden

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs), daemon=True)
    started, number = time.monotonic(), task["process"]
    resource_tracker.ensure_running()  # would else be started below, and unblock the signal
    with interrupt_blocked() if sys.platform != "win32" else _nothing(), main_hidden():
        process.start()
    theirs.close()
    try:
        while True:
            what, value = ours.recv()
            if what == "done":
                return value
            if what == "wrong":
                raise InputError(value)
            if what == "ready" and not number:
                seconds = processes * (time.monotonic() - started + value)
                bar.console.print(f"it will take about {_duration(seconds)}", highlight=False)
            if what == "round":
                bar.update(
                    bar.task_ids[0],
                    description=f"process {number + 1} of {processes}",
                    completed=number * task["n_rounds"] + value,
                )
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise _ProcessError(f"timing process {number + 1} of {processes} ended early ({how})") from None
    finally:
        process.kill()
        process.join()
        ours.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _work(task: dict[str, Any], connection: Connection) -> None:
    """In a process of its own: load what the grid needs, measure, tell. A closed pipe means that nobody listens."""
    from ..bench.measure import measure
    from ..config.layered import load
    from ..plugins import load_plugins

    def tell(what: str, value: object) -> None:
        try:
            connection.send((what, value))
        except BrokenPipeError:
            sys.exit(1)

    try:
        load_plugins(Path(file) for file in task["plugins"])
    except InputError as error:
        tell("wrong", str(error))
        return
    experiments = {label: load(config) for label, config in task["experiments"].items()}
    kinds, lengths, n_rounds = task["kinds"], task["lengths"], task["n_rounds"]
    told = measure(experiments, kinds, lengths, n_rounds, task["process"], tell, task["order"])
    tell("done", told)
