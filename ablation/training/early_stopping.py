"""Early stopping: a run ends before its last step once evaluations no longer improve."""

import math
from typing import Any, Literal

import lightning.pytorch as lightning

from ..config.experiment import EarlyStoppingConfig
from .metrics_log import MetricsLog


class EarlyStopping(lightning.Callback):
    """Ends a run when ``patience`` evaluations in a row are not better than the best before by more than ``min_delta``.

    Evaluations are of the task's primary metric on the usual validation set (Prechelt 1998, Early stopping - but
    when?). One that is not finite is no improvement. It comes after the log, whose scores it reads.
    """

    def __init__(
        self, rule: EarlyStoppingConfig, metric: str, better: Literal["lower", "higher"], metrics_log: MetricsLog
    ):
        self.rule, self.metric, self.better, self.metrics_log = rule, metric, better, metrics_log
        self.best: float | None = None
        self.best_step = self.waited = 0
        """The step of the best evaluation, and how many came after it."""
        self.reason: str | None = None
        """Why the run ends, once it does."""

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_step, self.waited = state["best"], state["best_step"], state["waited"]

    def on_validation_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.evaluated(trainer.global_step, self.metrics_log.scores[-1][self.metric])
        if self.reason is not None:
            trainer.should_stop = True

    def evaluated(self, step: int, value: float) -> None:
        """Take an evaluation into account."""
        if self.improves(value):
            self.best, self.best_step, self.waited = value, step, 0
            return
        self.waited += 1
        if self.waited >= self.rule.patience:
            best = "a finite one" if self.best is None else f"{self.best:.6g} at step {self.best_step}"
            beyond = f" by more than {self.rule.min_delta:g}" if self.rule.min_delta else ""
            self.reason = f"no validation {self.metric} better{beyond} than {best} in {self.rule.patience} evaluations"

    def improves(self, value: float) -> bool:
        best = self.best
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value < best - self.rule.min_delta if self.better == "lower" else value > best + self.rule.min_delta
