"""Probe: one number that an untrained model has."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ...config import ExperimentConfig
from ...data.task import IGNORED, Examples, Task
from ...models import build_model


@dataclass(frozen=True)
class Subject:
    """A model as it is before its first step, in float64, with the task that it would learn."""

    config: ExperimentConfig
    task: Task
    model: nn.Module

    @classmethod
    def of(cls, config: ExperimentConfig) -> "Subject":
        """With the weights of the configuration's own seed."""
        task: Task = config.data.build()
        model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
        return cls(config, task, model.double().eval())

    def examples(self, n: int = 8) -> Examples:
        """The first of those it would be validated on."""
        return {name: tensor[:n] for name, tensor in self.task.validation().items()}

    def scores(self, examples: Examples, **inputs: Any) -> Tensor:
        """What the model makes of them."""
        given = {name: tensor for name, tensor in examples.items() if name != "targets"}
        scores: Tensor = self.model(**given, **inputs)
        return scores

    def loss(self, examples: Examples) -> Tensor:
        """Nats per target."""
        scores = self.scores(examples)
        return nn.functional.cross_entropy(scores.flatten(0, -2), examples["targets"].flatten(), ignore_index=IGNORED)


class Probe:
    """Base of the probes."""

    better: ClassVar[Literal["lower", "higher"] | None] = None

    def __call__(self, subject: Subject) -> float:
        """The number. Errors: ValueError where this model has none."""
        raise NotImplementedError


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Of any two numbers in the same place."""
    return float((one - other).abs().max())
