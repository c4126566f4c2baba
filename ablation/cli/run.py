"""``ablate run``: train what is missing of a grid and print the table."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, nearest
from ..store.states import ENDED_BADLY, RETRIES
from .arguments import AsJson, GridFile, Plugins, Runs, Seeds, Settings
from .mirror import make_mirror
from .planning import compare_runs, load_plan, save_plan

if TYPE_CHECKING:
    from ..analysis import Comparison
    from ..grid import Plan
    from ..launch.drive import Outcome
    from ..launch.local import LocalLauncher
    from ..store.runs import Store
    from ..tracking import Mirror

FAILED, INTERRUPTED = 1, 4

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Runs at once; default: the cores, or the GPUs.")]
Retry = Annotated[
    str,
    typer.Option(
        "--retry", metavar="WHICH", help="Train again what failed, oom, diverged or drifted; comma-separated."
    ),
]


def run(
    grid: GridFile,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    seeds: Seeds = None,
    workers: Workers = None,
    retry: Retry = "",
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train the runs of a grid that are missing, with a live view, and print the comparison table.

    Ctrl-C stops; the same command goes on.
    """
    started = time.monotonic()
    _warm_up(grid, runs)
    retries = _retries(retry)
    plan = load_plan(grid, settings, seeds, plugins)
    from ..launch.drive import Outcome, drive
    from ..store.runs import Store
    from .view import View

    store = Store(runs)
    with store.lock():
        manifest = save_plan(plan, store)
        missing = store.to_train(plan.runs, retries)
        launcher = _launcher(plan, workers)
        outcome = Outcome()
        mirror = make_mirror(plan, store)
        mirror.start()
        if missing:
            with View(plan, store, missing, launcher.workers) as view:
                outcome = drive(missing, store, launcher, [view])
        mirror.close()
    comparison = compare_runs(manifest, runs)
    _write_tables(comparison, store.grid_directory(plan.name))
    states = [store.state(run.id) for run in plan.runs]
    failed = sum(state in ENDED_BADLY for state in states)
    if as_json:
        summary = {
            "grid": plan.name,
            "planned": len(plan.runs),
            "cached": len(plan.runs) - len(missing),
            "executed": outcome.executed,
            "completed": states.count("completed"),
            "diverged": states.count("diverged"),
            "failed": failed,
            "seconds": round(time.monotonic() - started, 3),
            "directory": str(store.grid_directory(plan.name)),
        }
        typer.echo(json.dumps(summary))
    else:
        _print(comparison, plan, store, outcome, mirror)
    return INTERRUPTED if outcome.interrupted else FAILED if failed else 0


def _warm_up(grid: Path, runs: Path) -> None:
    """Let the server of processes import while this process plans, unless all seems to be there already."""
    from ..launch.local import LocalLauncher
    from ..store.files import read_json
    from ..strict_yaml import read

    name = read(grid).value.get("name")
    manifest = read_json(runs / name / "manifest.json") if isinstance(name, str) else None
    ids = [run["id"] for cell in manifest["cells"] for run in cell["runs"]] if manifest else [""]
    if not all((runs / "store" / run_id[:2] / run_id / "result.json").exists() for run_id in ids):
        LocalLauncher.warm_up()


def _retries(retry: str) -> tuple[str, ...]:
    wanted = tuple(word.strip() for word in retry.split(",") if word.strip())
    for word in wanted:
        if word not in RETRIES:
            raise InputError(f"--retry {word}: not known; allowed: {', '.join(RETRIES)}{nearest(word, RETRIES)}")
    return wanted


def _launcher(plan: "Plan", workers: int | None) -> "LocalLauncher":
    """As many workers as the machine carries: GPUs where runs use them, else cores by the threads of a run."""
    import torch

    from ..launch.local import LocalLauncher, available_cores

    training = plan.runs[0].config.training
    on_gpu = training.device in ("auto", "cuda") and torch.cuda.is_available()
    n_gpus = torch.cuda.device_count() if on_gpu else 0
    default = n_gpus or max(1, available_cores() // training.threads)
    return LocalLauncher(workers or default, tuple(plugin.file for plugin in plan.plugins), n_gpus)


def _write_tables(comparison: "Comparison", directory: Path) -> None:
    """The table as files, for whoever does not want to call a command."""
    from ..report import TEXT_FORMATS

    for format, ending in (("markdown", "md"), ("csv", "csv"), ("json", "json")):
        (directory / f"table.{ending}").write_text(TEXT_FORMATS[format](comparison))


def _print(comparison: "Comparison", plan: "Plan", store: "Store", outcome: "Outcome", mirror: "Mirror") -> None:
    from ..report import terminal

    terminal.show(comparison)
    drifted = sum(store.drifted(run) for run in plan.runs)
    if drifted:
        typer.echo(f"{drifted} of {len(plan.runs)} runs were trained by other code; --retry drifted trains them again.")
    if mirror.summary():
        typer.echo(mirror.summary())
    if outcome.interrupted:
        typer.echo("Stopped. The same command goes on with what is missing.")
