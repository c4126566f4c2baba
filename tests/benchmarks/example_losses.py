# ruff: noqa: T201
"""What it costs a run to keep the losses of single validation examples: time and bytes.

    python tests/benchmarks/example_losses.py

Trains the baseline of the quickstart, in full and for 40 steps, on the largest validation set whose losses are kept,
and on a task that has no curve by position; each once with the losses kept and once without. Prints what keeping them
adds in the callback and for the file, over that of the run: the curve by position needs the same losses of targets.
Times are those of the processor, since other programs would count in any others.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablation.config.bundled import conf
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.store.example_losses import EXAMPLE_LOSSES
from ablation.training import evaluation
from ablation.training import run as run_module
from ablation.training.evaluation import MOST_EXAMPLES, LastLosses

SHORT = {"training.max_steps": 40, "training.evaluate_every": 40}
CASES: dict[str, dict[str, Any]] = {
    "quickstart": {},
    "quickstart, 40 steps": SHORT,
    f"40 steps, {MOST_EXAMPLES} examples": {**SHORT, "task.length": 16, "task.validation_windows": MOST_EXAMPLES},
    "a task with a target an example, 40 steps": {**SHORT, "task": "induction"},
}


def main() -> None:
    torch.set_num_threads(1)
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal spent
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent += time.thread_time() - start

        return call

    for name in ("on_validation_batch_end", "by_example"):
        setattr(LastLosses, name, timed(getattr(LastLosses, name)))
    run_module.save_example_losses = timed(run_module.save_example_losses)
    for what, changes in CASES.items():
        settings = {"tracking.mode": "disabled", "training.device": "cpu", **changes}
        plan = make_plan(
            read_grid(conf() / "grids" / "quickstart.yaml"), [f"{path}={value}" for path, value in settings.items()], 1
        )
        seconds = []
        for most in (0, MOST_EXAMPLES):
            evaluation.MOST_EXAMPLES = most
            with tempfile.TemporaryDirectory() as folder:
                spent, start = 0.0, time.thread_time()
                run_module.train(plan.cells[0].runs[0].config, Path(folder))
                whole = time.thread_time() - start
                seconds.append(spent)
                size = (Path(folder) / EXAMPLE_LOSSES).stat().st_size if most else 0
        added = seconds[1] - seconds[0]
        print(f"{what:45} {1000 * added:7.1f} ms of {whole:6.2f} s: {100 * added / whole:.2f} %; {size} bytes")


if __name__ == "__main__":
    main()
