"""Lightning's side of the observers: it tells them when, lays out what they look at, and hands on what they saw."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from ..config.experiment import ExperimentConfig
from ..tasks.base import IGNORED, Examples
from .learner import Learner
from .metrics_log import MetricsLog
from .monitor.base import Monitor

N_SEQUENCES = 4
"""Texts of the batch that a look takes."""


class MonitorCallback(lightning.Callback):
    """Calls the observers of a run in their time, after the log of that step. Changes none of its numbers.

    A look goes through the model itself, never through its compiled form, which hides what is inside.
    """

    def __init__(self, config: ExperimentConfig, model: nn.Module, metrics_log: MetricsLog):
        self.monitors: list[Monitor] = [monitor.build() for monitor in config.training.monitors]
        self.model, self.metrics_log = model, metrics_log
        self.every, self.max_steps = config.training.monitor_every, config.training.max_steps
        self.needs_forward = any(monitor.needs_forward() for monitor in self.monitors)
        self.step = 0

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        learner.before_clipping = self.before_update

    @torch.no_grad()
    def before_update(self) -> None:
        for monitor in self.monitors:
            monitor.before_update(self.model, self.step + 1, self.is_measured(self.step + 1))

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step == self.step:  # a batch of a step that goes on
            return
        self.step = trainer.global_step
        if not self.is_measured(self.step):
            return
        scores = self.monitored_forward(trainer, batch) if self.needs_forward else None
        row: dict[str, float] = {}
        for monitor in self.monitors:
            row |= monitor.measure(self.model, self.step, scores)
        if row:
            self.metrics_log.write({f"stability/{name}": value for name, value in row.items()})

    def is_measured(self, step: int) -> bool:
        return step % self.every == 0 or step == self.max_steps

    def monitored_forward(self, trainer: lightning.Trainer, batch: Examples) -> Tensor | None:
        """The scores (N, V) of the first texts of a batch where something is asked, None where nothing is."""
        texts = {name: tensor[:N_SEQUENCES] for name, tensor in batch.items()}
        targets = texts.pop("targets").flatten()
        handles = [handle for monitor in self.monitors for handle in monitor.register_hooks(self.model)]
        try:
            with _without_dropout(self.model), trainer.precision_plugin.forward_context():
                scores: Tensor = self.model(**texts)
        finally:
            for handle in handles:
                handle.remove()
        asked = scores.flatten(0, -2)[targets != IGNORED]
        return asked.to(torch.promote_types(asked.dtype, torch.float32)) if len(asked) else None

    def summary(self) -> dict[str, Any]:
        """What result.json says under ``stability``, once the run has ended."""
        history = self.metrics_log.history()
        summary: dict[str, Any] = {}
        for monitor in self.monitors:
            summary |= monitor.summary(history)
        return {name: _finite(value) for name, value in summary.items()}


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Every module as it is in evaluation, and afterwards as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
