# ruff: noqa: T201
"""How far the losses of one run are from those of the same run with another number of threads.

    python tests/benchmarks/thread_bits.py --steps 200

The run is the baseline of the quickstart grid. The numbers are in docs/decisions/numbers-and-threads.md.
"""

import argparse
import json
import tempfile
from pathlib import Path

from ablation.cli.init import conf
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.training.run import train

STEPS = (1, 10, 20, 50, 100, 200, 500, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    n_steps = parser.parse_args().steps
    first, again, more = (losses(n_threads, n_steps) for n_threads in (1, 1, 2))
    print(f"one thread, twice: {'equal in every step' if first == again else 'DIFFERENT'}")
    for step in (step for step in STEPS if step <= n_steps):
        print(f"step {step:4}: {first[step]:.9f} with one thread, {more[step]:.9f} with two")
    differing = [step for step in first if first[step] != more[step]]
    print(f"first step that differs: {min(differing, default=None)}")


def losses(n_threads: int, n_steps: int) -> dict[int, float]:
    """The training loss of each step."""
    settings = {"threads": n_threads, "max_steps": n_steps, "evaluate_every": n_steps, "log_every": 1, "device": "cpu"}
    changes = [f"training.{name}={value}" for name, value in settings.items()]
    plan = make_plan(read_grid(conf() / "grids" / "quickstart.yaml"), [*changes, "tracking.mode=disabled"], 1)
    with tempfile.TemporaryDirectory() as directory:
        train(plan.runs[0].config, Path(directory))
        rows = map(json.loads, (Path(directory) / "metrics.jsonl").read_text().splitlines())
        return {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}


if __name__ == "__main__":
    main()
