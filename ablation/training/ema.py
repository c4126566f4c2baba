"""The moving average of the weights, which is evaluated and kept in place of the weights that the steps move."""

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn


class WeightEMA(lightning.Callback):
    """After every step, average <- decay * average + (1 - decay) * weights, of every trained parameter.

    In the first steps the decay is 1 - 1 / (step + 1), as long as that is smaller: the average is then the mean of all
    weights so far (Polyak and Juditsky 1992, doi:10.1137/0330046), and after that the exponential one (Tarvainen and
    Valpola 2017, arXiv:1703.01780, whose code has the same ramp). Buffers, such as statistics of batch norms, are not
    averaged.

    Evaluations are of the average. After the last step it becomes the weights of the model. The callback has to come
    before those that use the trained model, and after those that change weights or read what an evaluation found.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.step = decay, 0
        self.weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.averages: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "averages": self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.averages = state["step"], state["averages"]

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        if not self.averages:
            self.averages = [weight.detach().clone() for weight in self.weights]
        else:  # of a checkpoint that was read before the model was moved
            self.averages = [one.to(weight.device) for one, weight in zip(self.averages, self.weights, strict=True)]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step == self.step:  # the step has more batches
            return
        self.step = trainer.global_step
        decay = min(self.decay, 1 - 1 / (self.step + 1))
        torch._foreach_lerp_(self.averages, [weight.detach() for weight in self.weights], 1 - decay)

    def on_validation_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.exchange()

    def on_validation_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.exchange()

    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average in the place of the weights, and the weights in that of the average."""
        for weight, average in zip(self.weights, self.averages, strict=True):
            weights = weight.clone()
            weight.copy_(average)
            average.copy_(weights)
