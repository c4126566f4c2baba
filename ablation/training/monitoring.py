"""The Lightning callback that runs the monitors of a run: it calls them at the right steps and logs their numbers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from ..components.architecture.base import call_model
from ..config.experiment import ExperimentConfig
from ..tasks.base import IGNORED, Examples, Task, model_inputs
from ..tasks.loss import has_cross_entropy
from .batches import TrainingBatch
from .learner import Learner
from .metrics_log import MetricsLog
from .monitor.base import Monitor

N_SEQUENCES = 4
"""Examples of the batch that a measurement takes."""


class MonitorCallback(lightning.Callback):
    """Calls the monitors of a run, after the log of that step. Changes none of the run's numbers.

    A measurement calls the model itself, never its compiled form, whose modules have no hooks.
    """

    def __init__(self, config: ExperimentConfig, task: Task, model: nn.Module, metrics_log: MetricsLog):
        self.monitors: list[Monitor] = [monitor.build() for monitor in config.training.monitors]
        self.has_logits = has_cross_entropy(task)
        self.model, self.metrics_log = model, metrics_log
        self.every, self.max_steps = config.training.monitor_every, config.training.max_steps
        self.needs_forward = any(monitor.needs_forward() for monitor in self.monitors)
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Errors: TypeError where a monitor has what no checkpoint can hold."""
        return {"step": self.step, "monitors": [monitor.state_dict() for monitor in self.monitors]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for monitor, its_state in zip(self.monitors, state["monitors"], strict=True):
            monitor.load_state_dict(its_state)

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        self.state_dict()  # what cannot be saved is refused now, and not with the first checkpoint
        learner.before_clipping = self.before_update

    @torch.no_grad()
    def before_update(self) -> None:
        for monitor in self.monitors:
            monitor.before_update(self.model, self.step + 1, self.is_measured(self.step + 1))

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        learner: lightning.LightningModule,
        outputs: Any,
        batch: TrainingBatch,
        index: int,
    ) -> None:
        if trainer.global_step == self.step:  # the step has more batches
            return
        self.step = trainer.global_step
        if not self.is_measured(self.step):
            return
        logits = self.monitored_forward(trainer, batch.examples) if self.needs_forward else None
        row: dict[str, float] = {}
        for monitor in self.monitors:
            row |= monitor.measure(self.model, self.step, logits)
        if row:
            self.metrics_log.write({f"stability/{name}": value for name, value in row.items()})

    def is_measured(self, step: int) -> bool:
        """Whether the monitors measure after this step."""
        return step % self.every == 0 or step == self.max_steps

    def monitored_forward(self, trainer: lightning.Trainer, batch: Examples) -> Tensor | None:
        """The logits (N, V) at the targets of the batch's first examples.

        None where these have no targets, and where the task's own loss takes no logits.
        """
        examples = {name: tensor[:N_SEQUENCES] for name, tensor in batch.items()}
        handles = [handle for monitor in self.monitors for handle in monitor.register_hooks(self.model)]
        try:
            with _without_dropout(self.model), trainer.precision_plugin.forward_context():
                logits = call_model(self.model, model_inputs(examples))
        finally:
            for handle in handles:
                handle.remove()
        if not self.has_logits:
            return None
        logits = logits.flatten(0, -2)[examples["targets"].flatten() != IGNORED]
        return logits.to(torch.promote_types(logits.dtype, torch.float32)) if len(logits) else None

    def summary(self) -> dict[str, Any]:
        """What result.json says under ``stability``, once the run has ended."""
        history = self.metrics_log.history()
        summary: dict[str, Any] = {}
        for monitor in self.monitors:
            summary |= monitor.summary(history)
        return {name: _finite(value) for name, value in summary.items()}


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode inside, and afterwards in the mode that it was in."""
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
