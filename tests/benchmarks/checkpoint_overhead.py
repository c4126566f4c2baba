# ruff: noqa: T201
"""What checkpoints cost: asking after each step whether one is due, and writing one.

    python tests/benchmarks/checkpoint_overhead.py --seconds 60

One run of the quickstart's model trains on and on. With its callback for checkpoints and without take turns, each for a
stretch of steps, in a new random order and then in its reverse, so that a machine that slows down evenly
slows both alike. ``ratio`` is that of their times of the processor, a mean over the logarithms of all blocks with its
Student t interval; ``within`` is the time inside the callback over that of the rest. The goal is a ratio below 1.01.
"""

import argparse
import logging
import math
import random
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as lightning
import torch

from ablation.config.bundled import conf
from ablation.config.experiment import ExperimentConfig
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.model.build import build_model
from ablation.report.bench import ratio_and_interval
from ablation.stats.contrast import MINIMUM_SEEDS
from ablation.training.batches import TrainingBatches
from ablation.training.checkpoint import Checkpoints
from ablation.training.learner import Learner
from ablation.training.metrics_log import MetricsLog
from ablation.training.run import make_trainer

STRETCH = 20
ENDLESS = 10**6
"""Steps; the time is over long before."""


class TimedCheckpoints(Checkpoints):
    """Knows how long it took."""

    within = 0.0

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        start = time.perf_counter()
        super().on_train_batch_end(*arguments, **named)
        self.within += time.perf_counter() - start


class Turns(lightning.Callback):
    """Adds and removes the callback, and times the stretches; at the end it writes some checkpoints."""

    def __init__(self, checkpoints: TimedCheckpoints, seconds: float):
        self.checkpoints, self.seconds = checkpoints, seconds
        self.blocks: list[dict[bool, list[float]]] = []
        self.waiting: list[bool] = []
        self.shares: list[float] = []
        self.written: list[float] = []
        self.random = random.Random(0)
        self.began = time.monotonic()

    def on_train_batch_start(self, trainer: Any, learner: Any, batch: Any, index: int) -> None:
        if trainer.global_step % STRETCH:
            return
        if not self.waiting:
            order = self.random.sample([True, False], 2)
            self.waiting = [*order, *reversed(order)]
            self.blocks.append({True: [], False: []})
        self.active = self.waiting.pop(0)
        trainer.callbacks = [each for each in trainer.callbacks if each is not self.checkpoints]
        if self.active:
            trainer.callbacks.append(self.checkpoints)
        self.checkpoints.step, self.checkpoints.within = trainer.global_step, 0.0
        self.start, self.clock = time.process_time(), time.perf_counter()

    def on_train_batch_end(self, trainer: Any, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step % STRETCH != STRETCH - 1:  # the last step of a stretch only stops the clock
            return
        self.blocks[-1][self.active].append(time.process_time() - self.start)
        if self.active:
            elapsed = time.perf_counter() - self.clock
            self.shares.append(self.checkpoints.within / (elapsed - self.checkpoints.within))
        enough = len(self.blocks) > MINIMUM_SEEDS and time.monotonic() - self.began > self.seconds
        if enough and not self.waiting:
            for number in range(10):
                start = time.perf_counter()
                self.checkpoints.save(trainer, self.checkpoints.folder / f"step-{number}.pt")
                self.written.append(time.perf_counter() - start)
            trainer.should_stop = True


def quickstart() -> ExperimentConfig:
    settings = {"training.device": "cpu", "training.max_steps": ENDLESS, "training.evaluate_every": ENDLESS}
    settings |= {"tracking.mode": "disabled", "training.monitors": "[]"}
    plan = make_plan(read_grid(conf() / "grids" / "quickstart.yaml"), [f"{k}={v}" for k, v in settings.items()], 1)
    return plan.cells[0].runs[0].config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="after which no further block is begun")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    config = quickstart()
    task: Any = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "metrics.jsonl").open("w") as stream:
        metrics_log = MetricsLog(config, stream)
        checkpoints = TimedCheckpoints(config, Path(folder), metrics_log)
        turns = Turns(checkpoints, options.seconds)
        trainer = make_trainer(config, Path(folder), [metrics_log, turns, checkpoints])
        trainer.fit(Learner(config, task, model), TrainingBatches(task, config.seed, ENDLESS))
        size = (checkpoints.folder / "step-0.pt").stat().st_size
    blocks = turns.blocks[1:]  # the first of anything is slow
    step = 1000 * median(seconds for block in blocks for seconds in block[False]) / (STRETCH - 1)
    ratio, interval = ratio_and_interval([math.log(sum(block[True]) / sum(block[False])) for block in blocks])
    print(f"a step: {step:.2f} ms; {len(blocks)} blocks")
    print(f"asking after each step: ratio {ratio}, 95 % interval {interval}; within {median(turns.shares):.3%}")
    print(f"writing one: {1000 * median(turns.written):.0f} ms for {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
