"""The numbers of a run: its rows in metrics.jsonl, and its quality, stability and efficiency at the end."""

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
from .batches import TrainingBatch
from .divergence import detect_divergence
from .learner import Learner
from .monitor.base import TrainingHistory

N_LAST = 3
"""Evaluations that are averaged, since the last alone is noisier."""


class DivergedError(Exception):
    """A loss is not finite, so that no later step can mean anything."""

    def __init__(self, loss: str, step: int):
        super().__init__(f"the {loss} loss is not finite at step {step}")
        self.step = step


class MetricsLog(lightning.Callback):
    """Records one run, and ends it when a loss is no longer finite. Changes none of its numbers.

    Reading a number from an accelerator waits for it, so the numbers of the steps stay there and are read together,
    every ``training.log_every`` steps and before each validation.
    """

    def __init__(self, config: ExperimentConfig, stream: IO[str]):
        self.training, self.stream = config.training, stream
        self.n_warmup = config.schedule.build().n_warmup(config.training.max_steps)
        self.step = 0
        self.tokens = 0
        """Tokens, or examples where the inputs are not tokens, that were trained on."""
        self.seconds = 0.0
        """Training time, without validation."""
        self.losses: list[float] = []
        """The task's loss in each training step, without what is added to it."""
        self.gradient_norms: list[float] = []
        """The norm of each step's gradient, before clipping."""
        self.speeds: list[float] = []
        """Tokens per second of each row of training steps."""
        self.scores: list[dict[str, float]] = []
        """The metrics of each validation."""
        self.diverged: DivergedError | None = None
        self._clock = 0.0
        """When the time began that ``seconds`` does not have yet."""
        self._elapsed = 0.0
        """How much of that time had passed when training was interrupted."""
        self._pending_losses: list[Tensor] = []
        self._pending_norms: list[Tensor] = []
        self._pending_tokens = 0

    def state_dict(self) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._clock
        return {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "elapsed": elapsed,
            # A million numbers are much faster saved as a tensor than as a list.
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "gradient_norms": torch.tensor(self.gradient_norms, dtype=torch.float64),
            "speeds": torch.tensor(self.speeds, dtype=torch.float64),
            "scores": self.scores,
            "pending_losses": [loss.detach() for loss in self._pending_losses],
            "pending_norms": self._pending_norms,
            "pending_tokens": self._pending_tokens,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.tokens, self.seconds, self.scores = (
            state[name] for name in ("step", "tokens", "seconds", "scores")
        )
        self.losses, self.gradient_norms, self.speeds = (
            state[name].tolist() for name in ("losses", "gradient_norms", "speeds")
        )
        self._pending_losses, self._pending_norms = state["pending_losses"], state["pending_norms"]
        self._pending_tokens = state["pending_tokens"]
        self._elapsed = state["elapsed"]

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self._clock = time.perf_counter() - self._elapsed

    def leave_out(self, seconds: float) -> None:
        """Do not count these seconds, which have just passed, as training."""
        self._clock += seconds

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        learner: lightning.LightningModule,
        outputs: Any,
        batch: TrainingBatch,
        index: int,
    ) -> None:
        assert isinstance(learner, Learner)
        self._pending_losses.append(outputs["task_loss"] / self.training.accumulate)
        self._pending_tokens += batch.n_tokens
        if trainer.global_step == self.step:  # the step has more batches
            return
        self.step = trainer.global_step
        self._pending_norms.append(learner.gradient_norm)
        last = self.step == self.training.max_steps
        if last or self.step % self.training.log_every == 0:
            self.report(learner)
        if last:
            trainer.should_stop = True  # which validates once more, whether or not it is time

    def on_validation_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        if self._pending_norms:
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
        """Write one row on the steps since the last: their mean loss and speed, and the gradient of the last step."""
        of_batches = torch.stack(self._pending_losses)
        if self.training.ranks > 1:  # each has the loss on its share
            torch.distributed.all_reduce(of_batches)
            of_batches /= self.training.ranks
        losses = of_batches.view(-1, self.training.accumulate).sum(1).tolist()
        norms = torch.stack(self._pending_norms).tolist()
        now = time.perf_counter()
        speed = self._pending_tokens / (now - self._clock)
        self.tokens += self._pending_tokens
        self.seconds, self._clock = self.seconds + now - self._clock, now
        self._pending_losses, self._pending_norms, self._pending_tokens = [], [], 0
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
        """Append a row; numbers that are not finite are written as null."""
        tokens = self.tokens + self._pending_tokens
        position = {"step": self.step, "tokens": tokens, "seconds": round(self.seconds, 4)}
        finite = {name: _finite(value) for name, value in row.items()}
        self.stream.write(json.dumps({**position, **finite}, separators=(",", ":"), allow_nan=False) + "\n")
        self.stream.flush()

    def quality(self, higher_is_better: Mapping[str, bool | None]) -> dict[str, Any]:
        """Every metric in the last evaluation, averaged over the last three, and at its best.

        A run with a loss that is not finite has only the best.
        """
        last = self.scores[-N_LAST:] if self.diverged is None else []
        best = {}
        for name, higher in higher_is_better.items():
            values = [scores[name] for scores in self.scores if math.isfinite(scores[name])]
            best[name] = (max if higher else min)(values) if values else None
        return {
            "final": {name: _finite(value) for name, value in last[-1].items()} if last else {},
            "best": best,
            "mean_last": {name: _finite(fmean(scores[name] for scores in last)) for name in last[-1]} if last else {},
        }

    def divergence(self) -> tuple[int, str] | None:
        """The step and the reason, None for a run that did not diverge.

        It did where a loss is not finite, or ended far above its lowest (see ``detect_divergence``).
        """
        if self.diverged is not None:
            return self.diverged.step, str(self.diverged)
        divergence = detect_divergence(self.losses)
        return None if divergence is None else (divergence.step, divergence.reason)

    def history(self) -> TrainingHistory:
        """All steps before the one whose loss was not finite, however many followed before that was noticed."""
        end = self.diverged.step if self.diverged else len(self.losses)
        finite = list(takewhile(math.isfinite, self.losses[:end]))
        n_steps = self.training.max_steps if self.diverged else self.step  # fewer where it was stopped early
        return TrainingHistory(finite, self.gradient_norms[:end], self.training.gradient_clip, self.n_warmup, n_steps)

    def stopped_early(self, reason: str) -> dict[str, Any] | None:
        """What the record of a run says where it ended before its last step without divergence; None elsewhere."""
        n_steps = self.training.max_steps
        return None if self.diverged or self.step == n_steps else {"step": self.step, "of": n_steps, "reason": reason}

    def stability(self) -> dict[str, Any]:
        """What is known of the run's stability without monitors."""
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
            # The median, since start-up and other programs slow some of the steps down.
            "tokens_per_second": median(self.speeds),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
