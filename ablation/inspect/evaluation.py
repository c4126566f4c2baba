"""A trained model on its fixed validation sets, batch by batch.

Shapes: N examples.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

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

    def batches(self, suffix: str = "") -> Iterator[Examples]:
        """One set in batches of the task's size, in its order; an example that would be alone joins those before it.

        So every example has another one in its batch, unless there is only one.
        """
        examples, size = self.sets[suffix], max(2, self.task.batch_size)
        n_examples = count_examples(examples)
        starts = [start for start in range(0, n_examples, size) if start == 0 or n_examples - start > 1]
        for start, end in pairwise([*starts, n_examples]):
            yield {name: tensor[start:end].to(self.device) for name, tensor in examples.items()}

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
    """The measures of one model, or of one that lacks a part, over the batches of all sets.

    They are the loss, and the task's primary metric where that is another.
    """

    def __init__(self, task: Task, suffixes: Iterable[str]):
        wanted = dict.fromkeys(["loss", task.primary])
        self.metrics = {}
        for suffix in suffixes:
            metrics = task.metrics_of(suffix.removeprefix("@")) if suffix else task.metrics()
            self.metrics[suffix] = {name: metrics[name] for name in wanted}

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
