"""A trained model on its fixed validation sets, batch by batch.

Shapes: N examples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components.architecture.base import call_model
from ..tasks.base import Examples, Task, count_examples, model_inputs


@dataclass(frozen=True)
class Validation:
    """The validation sets of a task by the suffix of their metrics' names, ``""`` first, then such as ``@2x``."""

    task: Task
    sets: Mapping[str, Examples]
    device: str = "cpu"

    @classmethod
    def of(cls, task: Task, n_examples: int | None, device: str = "cpu") -> "Validation":
        """All sets, or the first ``n_examples`` of each."""
        sets = {"": task.validation()} | {f"@{name}": further for name, further in task.further_validation().items()}
        return cls(task, {suffix: cut(examples, n_examples) for suffix, examples in sets.items()}, device)

    @property
    def measures(self) -> list[str]:
        """The loss, and the task's primary metric where that is another, on every set."""
        names = dict.fromkeys(["loss", self.task.primary])
        return [f"{name}{suffix}" for suffix in self.sets for name in names]

    def batches(self, suffix: str = "") -> Iterator[Examples]:
        """One set in batches of the task's size, in its order."""
        examples, size = self.sets[suffix], self.task.batch_size
        for start in range(0, count_examples(examples), size):
            yield {name: tensor[start : start + size].to(self.device) for name, tensor in examples.items()}

    def scorer(self) -> "Scorer":
        return Scorer(self.task, self.sets)

    @torch.no_grad()
    def score(self, model: nn.Module) -> dict[str, float]:
        """Every measure of the model as it is."""
        scorer = self.scorer()
        for suffix in self.sets:
            for batch in self.batches(suffix):
                scorer.update(suffix, forward(model, batch), batch["targets"])
        return scorer.compute()


class Scorer:
    """The measures of one model, or of one that lacks a part, over the batches of all sets."""

    def __init__(self, task: Task, suffixes: Sequence[str] | Mapping[str, Any]):
        wanted = dict.fromkeys(["loss", task.primary])
        self.metrics = {suffix: {name: task.metrics()[name] for name in wanted} for suffix in suffixes}

    def update(self, suffix: str, logits: Tensor, targets: Tensor) -> None:
        for metric in self.metrics[suffix].values():
            metric.to(logits.device).update(logits, targets)

    def compute(self) -> dict[str, float]:
        return {
            f"{name}{suffix}": float(metric.compute())
            for suffix, metrics in self.metrics.items()
            for name, metric in metrics.items()
        }


def forward(model: nn.Module, batch: Examples) -> Tensor:
    """The model's output for a batch, as validation computes it."""
    return call_model(model, model_inputs(batch))


def cut(examples: Examples, n_examples: int | None) -> Examples:
    """The first of the examples."""
    return {name: tensor[:n_examples] for name, tensor in examples.items()}
