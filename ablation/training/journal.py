"""What is written down while a run trains: metrics.jsonl, and in the end what result.json says of the whole."""

import json
import math
import time
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from ..config import ExperimentConfig
from .learner import Learner


class Journal(lightning.Callback):
    """Follows one run; stops it when its loss is no longer finite. Changes none of its numbers.

    Looking at a number on an accelerator waits for it, so losses are added up there and looked at every
    ``training.log_every`` steps.
    """

    def __init__(self, config: ExperimentConfig, file: Path):
        self.config = config
        self.tokens_per_step = config.training.accumulate * config.data.batch_size * config.data.length  # type: ignore[attr-defined]
        self.stream = file.open("w")
        self.step = 0
        self.seconds = 0.0
        """Training time, without validation."""
        self.diverged_at: int | None = None
        self.scores: list[dict[str, float]] = []
        self.speeds: list[float] = []
        self.gradient_norms: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._clock = 0.0
        self._logged_seconds = 0.0
        self._logged_step = 0

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self._clock = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.seconds += time.perf_counter() - self._clock

    def on_validation_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        assert isinstance(learner, Learner)
        scores = learner.scores()
        self.scores.append(scores)
        self.write({f"validation/{name}": value for name, value in scores.items()})
        self._clock = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(learner, Learner)
        self._losses.append(outputs["loss"])
        if trainer.global_step == self.step:  # a batch of a step that goes on
            return
        self.step = trainer.global_step
        self.gradient_norms.append(learner.gradient_norm)
        if self.step % self.config.training.log_every == 0 or self.step == self.config.training.max_steps:
            self.report(trainer)

    def report(self, trainer: lightning.Trainer) -> None:
        """One row on the steps since the last: their mean loss and speed."""
        loss = float(torch.stack(self._losses).mean())
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        speed = (self.step - self._logged_step) * self.tokens_per_step / (self.seconds - self._logged_seconds)
        self._logged_seconds, self._logged_step, self._losses = self.seconds, self.step, []
        self.speeds.append(speed)
        self.write(
            {
                "train/loss": loss,
                "train/gradient_norm": float(self.gradient_norms[-1]),
                "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "train/tokens_per_second": speed,
            }
        )
        if not math.isfinite(loss):
            self.diverged_at = self.step
            trainer.should_stop = True

    def write(self, row: dict[str, float]) -> None:
        """Numbers that are not finite are written as null."""
        place = {"step": self.step, "tokens": self.step * self.tokens_per_step, "seconds": round(self.seconds, 4)}
        finite = {name: _finite(value) for name, value in row.items()}
        json.dump({**place, **finite}, self.stream, separators=(",", ":"))
        self.stream.write("\n")
        self.stream.flush()

    def close(self) -> None:
        self.stream.close()

    def quality(self, better: dict[str, bool | None]) -> dict[str, Any]:
        """The last scores, and of each metric the best; ``better`` says where higher is."""
        final = self.scores[-1] if self.scores and self.diverged_at is None else {}
        best = {}
        for name, higher in better.items():
            seen = [scores[name] for scores in self.scores if math.isfinite(scores[name])]
            best[name] = (max if higher else min)(seen) if seen else None
        return {"final": {name: _finite(value) for name, value in final.items()}, "best": best}

    def stability(self) -> dict[str, Any]:
        norms = [norm for norm in torch.stack(self.gradient_norms).tolist() if math.isfinite(norm)]
        clip = self.config.training.gradient_clip
        return {
            "diverged": self.diverged_at is not None,
            "diverged_at_step": self.diverged_at,
            "gradient_norm_median": median(norms) if norms else None,
            "gradient_norm_max": max(norms, default=None),
            "clipped_share": sum(norm > clip for norm in norms) / len(norms) if clip and norms else 0.0,
        }

    def efficiency(self) -> dict[str, Any]:
        return {
            "tokens": self.step * self.tokens_per_step,
            "training_seconds": round(self.seconds, 4),
            # The median leaves out what start-up and other programs cost.
            "tokens_per_second": median(self.speeds),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
