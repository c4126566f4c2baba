"""``ablate run``: train what is missing of a grid and print the table."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError, nearest
from ..store.results import FAILED, RETRIES
from ..study.costs import WorkCounter
from ..study.manifest import compare_runs, earlier_manifest, load_plan, save_plan, written_name
from ..study.sequential import SequentialPlan
from .arguments import AsJson, GridFile, Plugins, Runs, Seeds, Settings
from .sync import make_mirror

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Plan, Run
    from ..launch.local import LocalLauncher
    from ..launch.queue import RunSummary
    from ..store.runs import Store
    from ..tracking.mirror import Mirror

SOME_FAILED, INTERRUPTED = 1, 4
Shown = Literal["json", "table", "nothing"]
"""What a command that trains prints of it."""
INTERRUPT_SYNC_TIMEOUT = 5.0
"""Seconds that an interrupted command still gives W&B; `ablate sync` takes up the rest."""

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Runs at once; default: the cores, or the GPUs.")]
Retry = Annotated[
    str,
    typer.Option(
        "--retry", metavar="WHICH", help="Train again what failed, oom, diverged or drifted; comma-separated."
    ),
]
UntilDecided = Annotated[
    bool,
    typer.Option("--until-decided", help="Add seeds at the grid's planned looks (5, 8, 12), only where needed."),
]
Budget = Annotated[
    int | None, typer.Option("--budget", metavar="RUNS", min=1, help="With --until-decided: train at most so many.")
]


def run(
    grid: GridFile,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    seeds: Seeds = None,
    workers: Workers = None,
    retry: Retry = "",
    plugins: Plugins = [],  # noqa: B006
    until_decided: UntilDecided = False,
    budget: Budget = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train the runs of a grid that are missing, with a live view, and print the comparison table.

    Ctrl-C stops; the same command goes on.
    """
    from ..launch.local import LocalLauncher
    from ..store.lock import refuse_if_held

    started = time.monotonic()
    retries = _retries(retry)
    _refuse_together(until_decided, seeds, budget)
    refuse_if_held(runs)
    with LocalLauncher.cooling_on_error():
        if _some_missing(grid, runs):
            LocalLauncher.warm_up()  # the server imports while this process plans
        whole = load_plan(grid, settings, seeds, plugins, until_decided)
    looks = SequentialPlan(whole, budget) if until_decided else None
    return run_study(whole, runs, workers, "json" if as_json else "table", retries, looks, started)


def run_study(
    whole: "Plan",
    runs: Path,
    workers: int | None,
    shown: Shown,
    retries: Sequence[str] = (),
    looks: SequentialPlan | None = None,
    started: float | None = None,
) -> int:
    """Train what a plan still lacks, look after look where there are several; returns the exit code of ``ablate run``.

    ``started`` is when the command was, by the monotonic clock; None: now.
    """
    from ..store.runs import Store

    started = time.monotonic() if started is None else started
    store, trained, executed = Store(runs), set[str](), 0
    with store.lock():
        while True:
            plan = whole if looks is None else looks.plan
            earlier = earlier_manifest(store.grid_directory(plan.name))
            costs = WorkCounter(plan, earlier)
            save_plan(plan, store, costs.work)
            missing = [run for run in store.to_train(plan.runs, retries) if run.id not in trained]
            trained |= {run.id for run in missing}
            outcome, mirror = _train(plan, store, missing, workers, costs)
            executed += outcome.executed
            work = costs.work if outcome.interrupted else costs.finish()
            comparison = compare_runs(save_plan(plan, store, work), runs)
            if looks is None or outcome.interrupted or not looks.go_on(comparison, len(trained)):
                break
        _write_tables(comparison, store.grid_directory(plan.name))
    states = [store.status(run.id) for run in plan.runs]
    failed = sum(state in FAILED for state in states)
    if shown == "json":
        summary = {
            "grid": plan.name,
            "planned": len(plan.runs),
            "cached": len(plan.runs) - len(trained),
            "executed": executed,
            "completed": states.count("completed"),
            "diverged": states.count("diverged"),
            "failed": failed,
            "seconds": round(time.monotonic() - started, 3),
            "directory": str(store.grid_directory(plan.name)),
        }
        typer.echo(json.dumps(summary))
    elif shown == "table":
        _print(comparison, plan, store, mirror)
    if outcome.interrupted:
        typer.echo("Stopped. The same command goes on with what is missing.", err=True)
        return INTERRUPTED
    return SOME_FAILED if failed else 0


def _some_missing(grid: Path, runs: Path) -> bool:
    """Whether there seems to be something to train: a guess by the last manifest, ahead of planning."""
    name = written_name(grid)
    try:
        manifest = json.loads((runs / str(name) / "manifest.json").read_text(encoding="utf-8"))
        ids = [run["id"] for cell in manifest["cells"] for run in cell["runs"]]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: it is written anew
        return True
    return not all((runs / "store" / run_id[:2] / run_id / "result.json").exists() for run_id in ids)


def _refuse_together(until_decided: bool, seeds: int | None, budget: int | None) -> None:
    if until_decided and seeds is not None:
        raise InputError("--seeds: --until-decided decides on the seeds; the grid's `looks` say how many there may be")
    if budget is not None and not until_decided:
        raise InputError("--budget: bounds --until-decided only; add it")


def _retries(retry: str) -> tuple[str, ...]:
    wanted = tuple(word.strip() for word in retry.split(",") if word.strip())
    for word in wanted:
        if word not in RETRIES:
            raise InputError(f"--retry {word}: not known; allowed: {', '.join(RETRIES)}{nearest(word, RETRIES)}")
    return wanted


def _train(
    plan: "Plan", store: "Store", missing: "list[Run]", workers: int | None, costs: WorkCounter
) -> "tuple[RunSummary, Mirror]":
    """Train what is missing, seen on the terminal and in W&B."""
    from ..launch.queue import RunSummary, run_queue
    from ..report.live import View

    outcome, patience = RunSummary(), INTERRUPT_SYNC_TIMEOUT
    mirror = make_mirror(plan, store)
    mirror.start()
    try:
        if missing:
            launcher = _launcher(plan, workers)
            with View(plan, store, len(missing), launcher.workers) as view:
                outcome = run_queue(missing, store, launcher, [view, costs], plan.plugins)
        if not outcome.interrupted:
            patience = 60.0
    finally:
        mirror.close(patience)
    return outcome, mirror


def _launcher(plan: "Plan", workers: int | None) -> "LocalLauncher":
    """As many workers as the machine carries: accelerators where runs use them, else cores by the threads of a run."""
    import torch

    from ..launch.local import LocalLauncher, available_cores, available_gpus

    trainings = [cell.runs[0].config.training for cell in plan.cells]
    devices = {training.device for training in trainings}
    gpus = available_gpus() if devices & {"auto", "cuda"} else []
    on_mps = not gpus and bool(devices & {"auto", "mps"}) and torch.backends.mps.is_available()
    by_cores = max(1, available_cores() // max(training.threads for training in trainings))
    return LocalLauncher(workers or len(gpus) or (1 if on_mps else by_cores), gpus)


def _write_tables(comparison: "Comparison", directory: Path) -> None:
    """The table as files, for whoever does not want to call a command."""
    from ..report import TEXT_FORMATS
    from ..store.files import unwritable

    for format, ending in (("markdown", "md"), ("csv", "csv"), ("json", "json")):
        file = directory / f"table.{ending}"
        try:
            file.write_text(TEXT_FORMATS[format](comparison), encoding="utf-8")
        except OSError as error:
            raise unwritable(file, error) from None


def _print(comparison: "Comparison", plan: "Plan", store: "Store", mirror: "Mirror") -> None:
    from ..report.render import terminal

    terminal.show(comparison)
    drifted = sum(store.has_stale_code(run) for run in plan.runs)
    if drifted:
        typer.echo(f"{drifted} of {len(plan.runs)} runs were trained by other code; --retry drifted trains them again.")
    if mirror.summary():
        typer.echo(mirror.summary())
