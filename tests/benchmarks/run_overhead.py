# ruff: noqa: T201
"""What a run costs besides its training steps, and what Lightning adds to a step.

    python tests/benchmarks/run_overhead.py --runs 10

The first figure is the wall time of a run's process, from start to end, less the time in its training steps: the median
over runs of the quickstart grid, trained one at a time by the real launcher. Its parts are measured in runs of their
own, with a plugin that notes when each begins. The second is the time of a step in Lightning's loop over that of the
same step in a plain loop, taken by turns in one process, for the quickstart's model and for the smallest one.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from plain_loop import train_plainly

from ablation.config.bundled import conf
from ablation.config.experiment import ExperimentConfig
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan
from ablation.launch.local import LocalLauncher
from ablation.model.build import build_model
from ablation.plugins import Plugin, load_plugins
from ablation.store.runs import Store
from ablation.training.run import train

SMALLEST = {"model.d_model": 8, "model.n_layers": 1, "task.length": 8, "task.batch_size": 1}
PROBE = """
import json, time
from ablation.training import attempt, run
marks = {"the process starts": time.monotonic()}
validation = 0.0

def note(owner, name, begins=None, ends=None):
    original = getattr(owner, name)
    def noting(*arguments, **named):
        if begins:
            marks[begins] = time.monotonic()
        try:
            return original(*arguments, **named)
        finally:
            if ends:
                marks[ends] = time.monotonic()
    setattr(owner, name, noting)

def validate(loop, original=run.lightning.loops.evaluation_loop._EvaluationLoop.run):
    global validation
    start = time.monotonic()
    try:
        return original(loop)
    finally:
        validation += time.monotonic() - start

def commit(directory, *arguments, original=attempt.commit):
    marks["the weights are saved"] = time.monotonic()
    (directory / "marks.json").write_text(json.dumps([marks, validation]))
    return original(directory, *arguments)

note(run, "build_model", "configuration and data", "the model")
note(run.MetricsLog, "on_train_start", ends="Lightning is set up")
note(run.lightning.Trainer, "fit", ends="the training is over")
run.lightning.loops.evaluation_loop._EvaluationLoop.run = validate
attempt.commit = commit
"""


def plan_of(n_runs: int, steps: int, **changes: int) -> Plan:
    settings = {"tracking.mode": "disabled", "training.device": "cpu"}
    settings |= {"training.max_steps": steps, "training.evaluate_every": steps, **changes}
    grid = read_grid(conf() / "grids" / "quickstart.yaml")
    return make_plan(grid, [f"{path}={value}" for path, value in settings.items()], -(-n_runs // 8))


def time_runs(plan: Plan, n_runs: int, store: Store, plugins: tuple[Plugin, ...]) -> list[tuple[Path, float, float]]:
    """Directory, start and end of each; one run goes before them, while the server starts."""
    launcher, timed, records = LocalLauncher(1), [], store.keep_plugins(plugins, plan.name)
    for run in [plan.runs[0], *plan.runs[:n_runs]]:
        order = store.order(run, records)
        start = time.monotonic()
        launcher.start(order)
        while not launcher.wait(60):
            pass
        timed.append((store.directory(run.id), start, time.monotonic()))
    return timed[1:]


def overhead(directory: Path, start: float, end: float) -> float:
    result = json.loads((directory / "result.json").read_text())
    return float(end - start - result["efficiency"]["training_seconds"])


def parts(directory: Path, start: float, end: float) -> dict[str, float]:
    marks, validation = json.loads((directory / "marks.json").read_text())
    found, before = {}, start
    for name, at in [*marks.items(), ("the run is committed and its process ends", end)]:
        found[name] = at - before
        before = at
    training = json.loads((directory / "result.json").read_text())["efficiency"]["training_seconds"]
    found["the training is over"] -= training + validation
    return {**found, "validation, once": validation}


def plain_seconds(config: ExperimentConfig) -> float:
    """The training steps of a run in a plain loop."""
    task: Any = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    start = time.perf_counter()
    train_plainly(config, task, model)
    return time.perf_counter() - start


def lightning_seconds(config: ExperimentConfig) -> float:
    """The same in Lightning's loop, with the journal that a run keeps."""
    with tempfile.TemporaryDirectory() as folder:
        return float(train(config, Path(folder))["efficiency"]["training_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="runs that are timed (default: 10)")
    parser.add_argument("--steps", type=int, default=40, help="training steps of each (default: 40)")
    options = parser.parse_args()
    plan = plan_of(options.runs, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "runs")
        seconds = sorted(overhead(*timed) for timed in time_runs(plan, options.runs, store, ()))
        print(f"overhead of a run: {median(seconds):.3f} s (from {seconds[0]:.3f} to {seconds[-1]:.3f}); goal: 0.3 s")
        probe = Path(folder) / "probe.py"
        probe.write_text(PROBE)
        measured = [parts(*timed) for timed in time_runs(plan, options.runs, store, load_plugins([probe]))]
    for name in measured[0]:
        print(f"  {name:42} {1000 * median(part[name] for part in measured):6.1f} ms")
    torch.set_num_threads(1)
    for what, sizes in (("the quickstart", {}), ("the smallest model", SMALLEST)):
        config = plan_of(1, options.steps, **sizes).cells[0].runs[0].config
        plain, lightning = zip(*((plain_seconds(config), lightning_seconds(config)) for _ in range(7)), strict=True)
        ratio = median(one / other for one, other in zip(lightning, plain, strict=True))
        step = 1000 * median(plain) / options.steps
        print(f"a step of {what}: {step:.2f} ms in a plain loop, {ratio:.2f} times that in Lightning's")


if __name__ == "__main__":
    main()
