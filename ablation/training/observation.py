"""Lightning's side of the observers: it tells them when, lays out what they look at, and hands on what they saw."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from ..components.observer import Observer
from ..config import ExperimentConfig
from ..data.task import IGNORED, Examples
from .journal import Journal
from .learner import Learner

N_TEXTS = 4
"""Texts of the batch that a look takes."""


class Observation(lightning.Callback):
    """Calls the observers of a run in their time, after the journal of that step. Changes none of its numbers.

    A look goes through the model itself, never through its compiled form, which hides what is inside.
    """

    def __init__(self, config: ExperimentConfig, model: nn.Module, journal: Journal):
        self.observers: list[Observer] = [observer.build() for observer in config.training.observers]
        self.model, self.journal = model, journal
        self.every, self.max_steps = config.training.observe_every, config.training.max_steps
        self.needs_pass = any(observer.needs_pass() for observer in self.observers)
        self.step = 0

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        learner.before_clipping = self.before_update

    @torch.no_grad()
    def before_update(self) -> None:
        for observer in self.observers:
            observer.before_update(self.model, self.step + 1, self.is_look(self.step + 1))

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step == self.step:  # a batch of a step that goes on
            return
        self.step = trainer.global_step
        if not self.is_look(self.step):
            return
        scores = self.watched_pass(trainer, batch) if self.needs_pass else None
        row: dict[str, float] = {}
        for observer in self.observers:
            row |= observer.look(self.model, self.step, scores)
        if row:
            self.journal.write({f"stability/{name}": value for name, value in row.items()})

    def is_look(self, step: int) -> bool:
        return step % self.every == 0 or step == self.max_steps

    def watched_pass(self, trainer: lightning.Trainer, batch: Examples) -> Tensor | None:
        """The scores (N, V) of the first texts of a batch where something is asked, None where nothing is."""
        texts = {name: tensor[:N_TEXTS] for name, tensor in batch.items()}
        targets = texts.pop("targets").flatten()
        handles = [handle for observer in self.observers for handle in observer.watch(self.model)]
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
        course = self.journal.course()
        summary: dict[str, Any] = {}
        for observer in self.observers:
            summary |= observer.summary(course)
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
