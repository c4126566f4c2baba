# ruff: noqa: T201
"""What the monitors add to a training step of the quickstart's model.

    python tests/benchmarks/monitor_overhead.py --seconds 60

One model is trained on and on, while monitors are switched by stretches of ``training.monitor_every`` steps, each of
which holds one look. In a block every arm has a stretch, in an order drawn anew, and then another in the mirror of that
order, so that a machine that slows down evenly slows all alike. ``ratio`` is that of an arm's time in a block to the
time without monitors, a mean over the logarithms of all blocks with its Student t interval. Without monitors there
are two arms: what the second is off the first is the error of the measurement, and together they are what the others
are compared with. ``within`` is the time spent within the monitors over that of the rest of the same stretch, which
other programs on the machine disturb less. On a CPU all is time of the processor, on CUDA of the clock. What is
observed in the first step alone is left out: a run pays it once.
"""

import argparse
import io
import logging
import math
import random
import time
import warnings
from statistics import median
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import nn

from ablation.config.bundled import conf
from ablation.config.experiment import ExperimentConfig
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.model.build import build_model
from ablation.registry import REGISTRY
from ablation.report.bench import ratio_and_interval
from ablation.stats.contrast import MINIMUM_SEEDS
from ablation.training.batches import TrainingBatches
from ablation.training.learner import Learner
from ablation.training.metrics_log import MetricsLog
from ablation.training.monitoring import MonitorCallback

NONE, AGAIN, ALL = "none", "none, once more", "all"
ENDLESS = 10**6
"""Steps; the time is over long before."""

Block = dict[str, list[tuple[float, float]]]
"""Seconds of every arm's stretches: all of it, and what the monitors took."""


class TimedMonitors(MonitorCallback):
    """Knows how long it took; ``before_update`` waits for nothing, so on CUDA its kernels count with the others."""

    within = 0.0

    def before_update(self) -> None:
        start = time.process_time()
        super().before_update()
        self.within += time.process_time() - start

    def on_train_batch_end(self, trainer: Any, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        if not self.is_measured(trainer.global_step):
            super().on_train_batch_end(trainer, learner, outputs, batch, index)
            return
        start = now(learner)
        super().on_train_batch_end(trainer, learner, outputs, batch, index)
        self.within += now(learner) - start


class Turns(lightning.Callback):
    """Lets one arm after another observe, each for a stretch of steps, and times the stretches."""

    def __init__(self, arms: dict[str, TimedMonitors], every: int, seconds: float):
        self.arms, self.every, self.seconds = arms, every, seconds
        self.blocks: list[Block] = []
        self.waiting: list[str] = []
        self.random = random.Random(0)
        self.began = time.monotonic()

    def on_train_batch_start(self, trainer: Any, learner: Any, batch: Any, index: int) -> None:
        if trainer.global_step % self.every:
            return
        if not self.waiting:
            order = self.random.sample(list(self.arms), len(self.arms))
            self.waiting = [*order, *reversed(order)]
            self.blocks.append({name: [] for name in self.arms})
        self.name = self.waiting.pop(0)
        self.arm = self.arms[self.name]
        self.arm.step, self.arm.within = trainer.global_step, 0.0
        learner.before_clipping = self.arm.before_update
        self.start = now(learner)

    def on_train_batch_end(self, trainer: Any, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        self.arm.on_train_batch_end(trainer, learner, outputs, batch, index)
        if trainer.global_step % self.every == 0:
            self.blocks[-1][self.name].append((now(learner) - self.start, self.arm.within))
            enough = len(self.blocks) > MINIMUM_SEEDS and time.monotonic() - self.began > self.seconds
            trainer.should_stop = enough and not self.waiting


def now(learner: Any) -> float:
    if learner.device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def config_of(monitors: list[str], options: argparse.Namespace) -> ExperimentConfig:
    settings = {
        "tracking.mode": "disabled",
        "training.device": options.device,
        "training.max_steps": ENDLESS,
        "training.monitor_every": options.every,
        "training.evaluate_every": 10**9,
        "training.monitors": f"[{', '.join(monitors)}]",
    }
    plan = make_plan(read_grid(conf() / "grids" / "quickstart.yaml"), [f"{k}={v}" for k, v in settings.items()], 1)
    return plan.cells[0].runs[0].config


def measure(sets: dict[str, list[str]], options: argparse.Namespace) -> list[Block]:
    """All blocks but the first, as the first of anything is slow; ``sets`` are the arms' monitors."""
    config = config_of([], options)
    task: Any = config.task.build()
    model: nn.Module = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    metrics_log = MetricsLog(config, io.StringIO())
    arms = {name: TimedMonitors(config_of(names, options), task, model, metrics_log) for name, names in sets.items()}
    turns = Turns(arms, options.every, options.seconds)
    trainer = lightning.Trainer(
        accelerator=config.training.device,
        devices=1,
        max_steps=ENDLESS,
        callbacks=[metrics_log, turns],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Learner(config, task, model), TrainingBatches(task, config.seed, ENDLESS))
    return turns.blocks[1:]


def log_ratio(block: Block, name: str) -> float:
    """Of an arm's time to that of a stretch without monitors; of ``AGAIN`` to the other arm that has none."""
    reference = [NONE] if name == AGAIN else [NONE, AGAIN]
    alone = [seconds for arm in reference for seconds, _ in block[arm]]
    seconds = [seconds for seconds, _ in block[name]]
    return math.log(sum(seconds) / len(seconds) * len(alone) / sum(alone))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="after which no further block is begun")
    parser.add_argument("--every", type=int, default=50, help="steps between two measurements")
    parser.add_argument("--each", action="store_true", help="every monitor alone, too")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = sorted(REGISTRY["monitor"])
    sets = {NONE: [], AGAIN: [], ALL: names, **({name: [name] for name in names} if options.each else {})}
    blocks = measure(sets, options)
    step = 1000 * median(seconds for block in blocks for seconds, _ in block[NONE]) / options.every
    print(f"a step without monitors: {step:.2f} ms; a look every {options.every} steps; {len(blocks)} blocks")
    print(f"  {'monitors':20} {'ratio':>8} {'95 % interval':>18} {'median':>8} {'within':>8}")
    for name in list(sets)[1:]:
        ratios = [log_ratio(block, name) for block in blocks]
        ratio, interval = ratio_and_interval(ratios)
        within = median(inside / (total - inside) for block in blocks for total, inside in block[name])
        print(f"  {name:20} {ratio:>8} {interval:>18} {math.exp(median(ratios)):8.4f} {within:8.2%}")


if __name__ == "__main__":
    main()
