"""The loss by position in the text: how much a model gains from what came before, and where a longer text loses it.

Shapes: B texts, L tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..data.task import IGNORED, Examples, Task

N_PARTS = 32
"""Parts that the positions of a text are put into, at most."""


class Positions(lightning.Callback):
    """Takes the last validation of a decoder apart, set by set; tasks that ask for few tokens have no such curve."""

    def __init__(self, task: Task, endings: Sequence[str], last_step: int):
        self.wanted, self.endings, self.last_step = task.kind == "causal" and task.primary == "loss", endings, last_step
        self.totals: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        learner: lightning.LightningModule,
        outputs: Any,
        batch: Examples,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self.wanted or trainer.global_step < self.last_step:
            return
        targets = batch["targets"]
        losses = cross_entropy(outputs.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
        total, count = losses.double().sum(0), (targets != IGNORED).sum(0)
        before = self.totals.get(dataloader_idx)
        self.totals[dataloader_idx] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """By the ending of the set's metrics: the middle ``position`` of each part, from 1, and its ``loss``."""
        found = {}
        for place, (total, count) in self.totals.items():
            parts = min(N_PARTS, len(total))
            sums, counts = (torch.stack([part.sum() for part in x.tensor_split(parts)]) for x in (total, count))
            middles = [float(part.double().mean()) + 1 for part in torch.arange(len(total)).tensor_split(parts)]
            asked = [index for index in range(parts) if counts[index] and bool(sums[index].isfinite())]
            found[self.endings[place]] = {
                "position": [middles[index] for index in asked],
                "loss": [float(sums[index] / counts[index]) for index in asked],
            }
        return found
