"""What a model that makes one text of another writes by itself, scored once, when it is trained.

Shapes: B texts, L tokens.
"""

from collections.abc import Iterator, Mapping

import lightning.pytorch as lightning
import torch
from torch import Tensor

from ..data.task import IGNORED, Examples, Task
from ..models.generate import Choice, generate
from .loader import ValidationBatches

LARGER = 8
"""Batches of decoding are so many times as large as those of training: its steps are small."""


class Decoding(lightning.Callback):
    """Scores greedy decoding after the last step, on every validation set; other models have no such scores.

    A text that does not end is cut after ``task.length`` tokens, the longest that could be right.
    """

    def __init__(self, task: Task, model: torch.nn.Module, sets: Mapping[str, ValidationBatches]):
        self.task, self.model, self.sets = task, model, sets
        self.scores: dict[str, float] = {}
        """By metric and ending of the set, as ``edit_distance@24-28``."""

    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        if self.task.kind != "sequence":
            return
        with trainer.precision_plugin.forward_context():  # as in validation
            for ending, batches in self.sets.items():
                self.scores[f"edit_distance{ending}"] = self.score(self.model, batches, learner.device)

    def score(self, model: torch.nn.Module, batches: ValidationBatches, device: torch.device) -> float:
        from ..data.metrics import edit_distance

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
            Choice(temperature=0),
            end=self.task.end,
            memory=model.encode(source, source_padding),  # type: ignore[operator]
            source_padding=source_padding,
        )[:, 1:]

    def texts(self, ids: Tensor) -> Iterator[list[int]]:
        """Token ids (B, L), each row up to its end."""
        for row in ids.tolist():
            end = row.index(self.task.end) if self.task.end in row else len(row)
            yield [id for id in row[:end] if id != IGNORED]
