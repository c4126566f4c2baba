# ruff: noqa: T201
"""What the observers add to a training step of the quickstart's model.

    python tests/benchmarks/observer_overhead.py --rounds 40

Learners that are alike but for their observers train by turns in one process, in an order drawn anew in each round;
``ratio`` is the median over rounds of the time of their steps over that of the learner without observers in the same
round. A turn is one stretch of ``training.observe_every`` steps, and so holds one look and, once, what is observed in
the first step. A learner without observers takes part twice: what its ratio is off 1 is the error of the measurement.
``within`` is the time spent within the observers over that of the rest of the same stretch, which other programs on the
machine disturb less. On a CPU all is time of the processor, on CUDA of the clock.
"""

import argparse
import io
import logging
import random
import time
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import lightning.pytorch as lightning
import torch

from ablation.cli.project import conf
from ablation.config import ExperimentConfig
from ablation.grid import make_plan, read_grid
from ablation.models import build_model
from ablation.registry import REGISTRY
from ablation.training.journal import Journal
from ablation.training.learner import Learner
from ablation.training.loader import TrainingBatches
from ablation.training.observation import Observation

NONE, AGAIN, ALL = "none", "none, once more", "all"


class Turns(lightning.Callback):
    """The time of a stretch of steps, from the start of its first to the end of its last."""

    def __init__(self) -> None:
        self.start: float | None = None
        self.seconds = 0.0

    def on_train_batch_start(self, trainer: Any, learner: Any, batch: Any, index: int) -> None:
        if self.start is None:
            self.start = now(learner)

    def on_train_batch_end(self, trainer: Any, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step == trainer.max_steps:
            assert self.start is not None
            self.seconds = now(learner) - self.start


class TimedObservation(Observation):
    """Knows how long it took; ``before_update`` waits for nothing, so on CUDA its kernels count with the others."""

    within = 0.0

    def before_update(self) -> None:
        start = time.process_time()
        super().before_update()
        self.within += time.process_time() - start

    def on_train_batch_end(self, trainer: Any, learner: Any, outputs: Any, batch: Any, index: int) -> None:
        if not self.is_look(trainer.global_step):
            super().on_train_batch_end(trainer, learner, outputs, batch, index)
            return
        start = now(learner)
        super().on_train_batch_end(trainer, learner, outputs, batch, index)
        self.within += now(learner) - start


def now(learner: Any) -> float:
    if learner.device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def config_of(observers: list[str], options: argparse.Namespace) -> ExperimentConfig:
    settings = {
        "tracking.mode": "disabled",
        "training.device": options.device,
        "training.max_steps": options.every,
        "training.observe_every": options.every,
        "training.evaluate_every": 10**9,
        "training.observers": f"[{', '.join(observers)}]",
    }
    plan = make_plan(read_grid(conf() / "grids" / "quickstart.yaml"), [f"{k}={v}" for k, v in settings.items()], 1)
    return plan.cells[0].runs[0].config


def seconds_of(config: ExperimentConfig) -> tuple[float, float]:
    """Of one stretch of steps: all of it, and what the observers took."""
    task: Any = config.data.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    journal, turns = Journal(config, io.StringIO()), Turns()
    observation = TimedObservation(config, model, journal)
    trainer = lightning.Trainer(
        accelerator=config.training.device,
        devices=1,
        max_steps=config.training.max_steps,
        callbacks=[journal, observation, turns],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Learner(config, task, model), TrainingBatches(task, config.seed, config.training.max_steps))
    return turns.seconds, observation.within


def rounds(configs: dict[str, ExperimentConfig], n_rounds: int) -> Iterator[dict[str, tuple[float, float]]]:
    seconds_of(configs[ALL])  # the first of anything is slow
    order = random.Random(0)
    for _ in range(n_rounds):
        names = order.sample(list(configs), len(configs))
        yield {name: seconds_of(configs[name]) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--every", type=int, default=50, help="steps between two looks")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = sorted(REGISTRY["observer"])
    sets = {NONE: [], AGAIN: [], ALL: names, **{name: [name] for name in names}}
    configs = {name: config_of(observers, options) for name, observers in sets.items()}
    measured = list(rounds(configs, options.rounds))
    step = 1000 * median(one[NONE][0] for one in measured) / options.every
    print(f"a step without observers: {step:.2f} ms; a look every {options.every} steps; {len(measured)} rounds")
    print(f"  {'observers':20} {'ratio':>8} {'half of the rounds':>20} {'within':>8}")
    for name in configs:
        ratios = sorted(one[name][0] / one[NONE][0] for one in measured)
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        within = median(inside / (total - inside) for total, inside in (one[name] for one in measured))
        print(f"  {name:20} {median(ratios):8.4f} {low:12.4f} {high:7.4f} {within:8.2%}")


if __name__ == "__main__":
    main()
