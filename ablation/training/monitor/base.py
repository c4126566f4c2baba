"""Monitor: what is measured of a run's stability while it trains.

Shapes: N targets, V vocabulary or classes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...components.block import Block


@dataclass(frozen=True)
class TrainingHistory:
    """The steps of a run that has ended; where a loss was not finite, those before it."""

    losses: Sequence[float]
    """The training loss of each step, finite."""
    gradient_norms: Sequence[float]
    """The norm of the whole gradient of each step, before clipping; some may not be finite."""
    gradient_clip: float | None
    n_warmup: int
    """Steps of the learning rate's warm-up."""
    max_steps: int
    """Planned steps."""


class Monitor:
    """Base class of the monitors; each overrides what it needs.

    A monitor changes no number of its run: it is called without gradients and writes to nothing but itself. It may use
    random numbers, since every batch is seeded anew. Steps count from 1.

    Monitors measure after every ``training.monitor_every``-th step and after the last one: a few examples of the step's
    batch go through the model once more, with the new weights and without dropout.
    """

    def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
        """Called in every step, with the gradients before clipping and the weights before the update.

        ``is_measured``: whether the monitors measure after this update.
        """

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        """Hooks for the forward pass of a measurement, after which they are removed. The model is not compiled."""
        return ()

    def measure(self, model: nn.Module, step: int, logits: Tensor | None) -> dict[str, float]:
        """Called after that pass; returns numbers for metrics.jsonl, by name.

        ``logits`` (N, V), at least in float32, are those that enter the loss. They are None where no monitor needs the
        pass, where these examples have no targets, and where the task's loss is not the cross-entropy.
        """
        return {}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        """Called once, at the end: numbers for ``stability`` in result.json; None for what was not measured."""
        return {}

    @classmethod
    def needs_forward(cls) -> bool:
        """Whether it needs the forward pass of a measurement."""
        return cls.register_hooks is not Monitor.register_hooks


class Series:
    """One number over the measurements of a run. What is not finite is left out."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []

    def add(self, step: int, value: float) -> None:
        if math.isfinite(value):
            self.points.append((step, value))

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.points]

    def last_half(self, max_steps: int) -> list[tuple[int, float]]:
        """Steps and values of the second half of the run."""
        return [(step, value) for step, value in self.points if 2 * step >= max_steps]


def blocks_of(model: nn.Module) -> list[list[nn.Module]]:
    """The blocks of each stack, in order: of one stack, or of an encoder and a decoder; none of an own model."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module))
    return [list(blocks) for blocks in lists if all(isinstance(block, Block) for block in blocks)]


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of the least-squares line through the points (x, y); None where all x are the same."""
    if len({x for x, _ in points}) < 2:
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
