"""What is written down while a run trains: metrics.jsonl, and in the end what result.json says of the whole."""

import json
import math
import time
from collections.abc import Mapping
from itertools import takewhile
from statistics import fmean, median
from typing import IO, Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from ..config.experiment import ExperimentConfig
from .divergence import detect_divergence
from .learner import Learner
from .monitor.base import TrainingHistory

N_LAST = 3
"""Validations whose mean is less noisy than the last alone."""


class DivergedError(Exception):
    """A loss is not finite; nothing that follows could mean anything."""

    def __init__(self, loss: str, step: int):
        super().__init__(f"the {loss} loss is not finite at step {step}")
        self.step = step


class MetricsLog(lightning.Callback):
    """Follows one run; ends it when a loss is no longer finite. Changes none of its numbers.

    Looking at a number on an accelerator waits for it, so those of the steps are kept there and looked at together,
    every ``training.log_every`` steps and before each validation.
    """

    def __init__(self, config: ExperimentConfig, stream: IO[str]):
        self.training, self.stream = config.training, stream
        self.n_warmup = config.schedule.build().n_warmup(config.training.max_steps)
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        """Training time, without validation."""
        self.losses: list[float] = []
        """The cross-entropy of each step, in training, whatever is added to it."""
        self.gradient_norms: list[float] = []
        """Of each step, before clipping."""
        self.speeds: list[float] = []
        """Tokens per second, of each row."""
        self.scores: list[dict[str, float]] = []
        """Of each validation."""
        self.diverged: DivergedError | None = None
        self._clock = 0.0
        self._waiting_losses: list[Tensor] = []
        self._waiting_norms: list[Tensor] = []
        self._waiting_tokens = 0

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self._clock = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(learner, Learner)
        self._waiting_losses.append(outputs["cross_entropy"] / self.training.accumulate)
        self._waiting_tokens += batch["tokens"].numel()
        if trainer.global_step == self.step:  # a batch of a step that goes on
            return
        self.step = trainer.global_step
        self._waiting_norms.append(learner.gradient_norm)
        last = self.step == self.training.max_steps
        if last or self.step % self.training.log_every == 0:
            self.report(learner)
        trainer.should_stop = last  # which validates once more, whether or not it is time

    def on_validation_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        if self._waiting_norms:
            self.report(learner)

    def on_validation_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        scores = learner.scores()
        self.write({f"validation/{name}": value for name, value in scores.items()})
        if not math.isfinite(scores["loss"]):
            self.end(DivergedError("validation", self.step))
        self.scores.append(scores)
        self._clock = time.perf_counter()

    def report(self, learner: Learner) -> None:
        """One row on the steps since the last: their mean loss and speed, and the last one's gradient."""
        losses = torch.stack(self._waiting_losses).view(-1, self.training.accumulate).sum(1).tolist()
        norms = torch.stack(self._waiting_norms).tolist()
        now = time.perf_counter()
        speed = self._waiting_tokens / (now - self._clock)
        self.tokens += self._waiting_tokens
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self._waiting_losses, self._waiting_norms, self._waiting_tokens = [], [], 0
        self.losses += losses
        self.gradient_norms += norms
        self.speeds.append(speed)
        self.write(
            {
                "train/loss": sum(losses) / len(losses),
                "train/gradient_norm": norms[-1],
                "train/learning_rate": learner.learning_rate,
                "train/tokens_per_second": speed,
            }
        )
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            if not math.isfinite(loss):
                self.end(DivergedError("training", step))

    def end(self, diverged: DivergedError) -> None:
        self.diverged = diverged
        raise diverged

    def write(self, row: dict[str, float]) -> None:
        """Numbers that are not finite are written as null."""
        tokens = self.tokens + self._waiting_tokens
        place = {"step": self.step, "tokens": tokens, "seconds": round(self.seconds, 4)}
        finite = {name: _finite(value) for name, value in row.items()}
        self.stream.write(json.dumps({**place, **finite}, separators=(",", ":"), allow_nan=False) + "\n")
        self.stream.flush()

    def quality(self, higher_is_better: Mapping[str, bool | None]) -> dict[str, Any]:
        """The last scores, none if a loss was not finite; the means of the last three; and of each the best seen."""
        last = self.scores[-N_LAST:] if self.diverged is None else []
        best = {}
        for name, higher in higher_is_better.items():
            seen = [scores[name] for scores in self.scores if math.isfinite(scores[name])]
            best[name] = (max if higher else min)(seen) if seen else None
        return {
            "final": {name: _finite(value) for name, value in last[-1].items()} if last else {},
            "best": best,
            "mean_last": {name: _finite(fmean(scores[name] for scores in last)) for name in last[-1]} if last else {},
        }

    def divergence(self) -> tuple[int, str] | None:
        """The step and the reason: a loss that is not finite, or one that ended far above its lowest (see ``detect_divergence``)."""
        if self.diverged is not None:
            return self.diverged.step, str(self.diverged)
        risen = detect_divergence(self.losses)
        return None if risen is None else (risen.step, risen.reason)

    def history(self) -> TrainingHistory:
        """The steps up to the one whose loss was not finite, however many followed before it was seen."""
        end = self.diverged.step if self.diverged else len(self.losses)
        finite = list(takewhile(math.isfinite, self.losses[:end]))
        training = self.training
        return TrainingHistory(
            finite, self.gradient_norms[:end], training.gradient_clip, self.n_warmup, training.max_steps
        )

    def stability(self) -> dict[str, Any]:
        """What is known of it without observers."""
        diverged = self.divergence()
        return {
            "diverged": diverged is not None,
            "diverged_at_step": diverged[0] if diverged else None,
            "initial_loss": _finite(self.losses[0]) if self.losses else None,
        }

    def efficiency(self) -> dict[str, Any]:
        return {
            "steps": self.step,
            "tokens": self.tokens,
            "training_seconds": round(self.seconds, 4),
            # The median leaves out what start-up and other programs cost.
            "tokens_per_second": median(self.speeds),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
