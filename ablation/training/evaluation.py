"""What a model that makes one text of another writes by itself, scored once, when it is trained.

Shapes: B texts, L tokens.
"""

# DOC-TO-MERGE: 'The loss by position in the text: how much a model gains from what came before, and where a longer text loses it.\n\nShapes: B texts, L tokens, V vocabulary.\n'

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..model.generate import SamplingParams, generate
from ..tasks.base import IGNORED, Examples, Task
from .batches import ValidationBatches

LARGER = 8
"""Batches of decoding are so many times as large as those of training: its steps are small."""


class GreedyDecodingEval(lightning.Callback):
    """Scores greedy decoding after the last step, on every validation set; other models have no such scores.

    A text that does not end is cut after ``task.length`` tokens, the longest that could be right.
    """

    def __init__(self, task: Task, model: torch.nn.Module, sets: Mapping[str, ValidationBatches]):
        self.task, self.model, self.sets = task, model, sets
        self.scores: dict[str, float] = {}
        """By metric and ending of the set, as ``edit_distance@24-28``."""

    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        if self.task.kind != "seq2seq":
            return
        with trainer.precision_plugin.forward_context():  # as in validation
            for ending, batches in self.sets.items():
                self.scores[f"edit_distance{ending}"] = self.score(self.model, batches, learner.device)

    def score(self, model: torch.nn.Module, batches: ValidationBatches, device: torch.device) -> float:
        from ..tasks.metrics import edit_distance

        written: list[list[int]] = []
        targets: list[list[int]] = []
        for batch in ValidationBatches(batches.examples, LARGER * batches.batch_size):
            whole = self.decode(model, {name: tensor.to(device) for name, tensor in batch.items()})
            written += self.texts(whole)
            targets += self.texts(batch["targets"])
        return edit_distance(written, targets)

    @torch.no_grad()
    def decode(self, model: torch.nn.Module, batch: Examples) -> Tensor:
        """What the model writes for the sources of a batch, behind the begin: ids (B, L)."""
        model.eval()
        source, source_padding = batch["source"], batch["source_padding"]
        assert self.task.begin is not None
        return generate(
            model,
            torch.full_like(source[:, :1], self.task.begin),
            self.task.length,
            SamplingParams(temperature=0),
            end=self.task.end,
            memory=model.encode(source, source_padding),  # type: ignore[operator]
            source_padding=source_padding,
        )[:, 1:]

    def texts(self, ids: Tensor) -> Iterator[list[int]]:
        """Token ids (B, L), each row up to its end."""
        for row in ids.tolist():
            end = row.index(self.task.end) if self.task.end in row else len(row)
            yield [id for id in row[:end] if id != IGNORED]


N_PARTS = 32
"""Parts that the positions of a text are put into, at most."""


class LossByPosition(lightning.Callback):
    """Takes the last validation of a decoder apart, set by set; tasks that ask for few tokens have no such curve."""

    def __init__(self, task: Task, endings: Sequence[str], last_step: int):
        self.wanted, self.endings, self.last_step = (
            task.kind == "causal_lm" and task.primary == "loss",
            endings,
            last_step,
        )
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
