# ruff: noqa: T201
"""What `ablate run` costs beside plain loops that train the same models, and how long small commands take.

    python tests/benchmarks/bare_loops.py --seeds 6

A grid of 12 cells is trained twice: by `ablate run`, and by as many processes of plain PyTorch as it has workers, which
have imported everything before they are timed. Both train the same steps and validate once. By turns, so that what else
the machine does meets both. The time of `ablate run` is also given from the start of the first run to the end of the
last, without imports, planning and the table.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from plain_loop import train_plainly
from torch.nn.functional import cross_entropy

from ablation.config.bundled import conf
from ablation.config.experiment import ExperimentConfig
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.model.build import build_model
from ablation.training.batches import validation_sets

GRID = """
# Which position, block and number of heads?
name: bare
base: {base}
set:
  model.d_model: 64
  model.n_layers: 2
  model.dropout: 0.0
  task: {{name: text, length: 64, batch_size: 16, validation_windows: 64}}
  training.max_steps: {steps}
  training.evaluate_every: {steps}
  training.device: cpu
  tracking.mode: disabled
factors:
  model.position: [rope, alibi, sinusoidal]
  model.block: [pre_norm, post_norm]
  model.n_heads: [4, 2]
seeds: {seeds}
"""
GOALS = {"ratio": 1.15, "one run": 5.0, "plan": 1.5}


def write_grid(folder: Path, steps: int, seeds: int) -> Path:
    file = folder / "bare.yaml"
    file.write_text(GRID.format(base=conf() / "base.yaml", steps=steps, seeds=seeds).lstrip())
    return file


def bare(written: str) -> float:
    """Train a configuration, in JSON, in a plain loop, and validate once; returns the loss."""
    config = ExperimentConfig.model_validate_json(written)
    torch.set_num_threads(1)
    task: Any = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    train_plainly(config, task, model)
    model.eval()
    with torch.no_grad():
        losses = [float(cross_entropy(model(batch["tokens"]).flatten(0, -2), batch["targets"].flatten()))
                  for batch in validation_sets(task)[""]]  # fmt: skip
    return sum(losses) / len(losses)


def configs_of(grid: Path) -> list[str]:
    return [run.config.model_dump_json() for run in make_plan(read_grid(grid)).runs]


def seconds_of_bare_loops(configs: list[str], pool: Any) -> float:
    start = time.monotonic()
    pool.map(bare, configs, chunksize=1)
    return time.monotonic() - start


def seconds_of_command(*arguments: Any) -> float:
    start = time.monotonic()
    command = [sys.executable, "-c", "import sys; from ablation.cli import main; sys.exit(main())"]
    subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)
    return time.monotonic() - start


def seconds_of_runs(runs: Path) -> float:
    """From the start of the first attempt to the end of the last."""
    ends = [file.stat().st_mtime for file in runs.glob("store/??/*/result.json")]
    starts = [file.stat().st_mtime for file in runs.glob("store/??/*/attempt.json")]
    return max(ends) - min(starts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=6, help="seeds of each of 12 cells (default: 6)")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each run (default: 100)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default: 3)")
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    rows = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = write_grid(folder, options.steps, options.seeds)
        configs = configs_of(grid)
        pool.map(bare, configs[: 2 * workers], chunksize=1)
        for number in range(options.rounds):
            runs = folder / f"runs{number}"
            plain = seconds_of_bare_loops(configs, pool)
            command = seconds_of_command("run", grid, "--runs", runs)
            rows.append((plain, command, seconds_of_runs(runs)))
            print(f"bare loops {plain:.1f} s, ablate run {command:.1f} s, first to last run {rows[-1][2]:.1f} s")
        ratio, whole = (median(row[column] / row[0] for row in rows) for column in (2, 1))
        print(f"{12 * options.seeds} runs: {ratio:.3f} times the bare loops, start-up apart; goal: {GOALS['ratio']}")
        print(f"{12 * options.seeds} runs: {whole:.3f} times the bare loops in all")
        text = write_grid(folder, options.steps, 1).read_text()
        for levels, first in {
            "rope, alibi, sinusoidal": "rope",
            "pre_norm, post_norm": "pre_norm",
            "4, 2": "4",
        }.items():
            text = text.replace(levels, first)
        one = folder / "one.yaml"
        one.write_text(text.replace("name: bare", "name: one"))
        timed = [seconds_of_command("run", one, "--runs", folder / f"one{number}") for number in range(options.rounds)]
        print(f"a grid of one run: {median(timed):.1f} s; goal: {GOALS['one run']:g} s")
        timed = [
            seconds_of_command("plan", grid, "--runs", folder / f"none{number}") for number in range(options.rounds)
        ]
        print(f"its plan: {median(timed):.1f} s; goal: {GOALS['plan']:g} s")


if __name__ == "__main__":
    main()
