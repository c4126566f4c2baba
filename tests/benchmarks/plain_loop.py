"""Training in a plain loop, without Lightning and without a record: what benchmarks compare with."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ablation.config.experiment import ExperimentConfig
from ablation.rng import derive
from ablation.tasks.base import IGNORED
from ablation.training.batches import TrainingBatches


def train_plainly(config: ExperimentConfig, task: Any, model: nn.Module) -> None:
    """The training steps of a run of a causal language model."""
    parameters = list(model.parameters())
    optimizer = config.optimizer.build().for_model(model)
    schedule, n_steps = config.schedule.build(), config.training.max_steps
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, n_steps))
    for step, (batch, *_) in enumerate(TrainingBatches(task, config.seed, n_steps)):
        torch.default_generator.manual_seed(derive(config.seed, "batch", step))
        optimizer.zero_grad()
        logits = model(batch["tokens"])
        cross_entropy(logits.flatten(0, -2), batch["targets"].flatten(), ignore_index=IGNORED).backward()
        nn.utils.clip_grad_norm_(parameters, config.training.gradient_clip)
        optimizer.step()
        scheduler.step()
