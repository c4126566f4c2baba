"""Observer: what is seen of a run's stability while it trains.

Shapes: N tokens on which something is asked, V vocabulary or classes.
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
    """The steps of a run once it has ended; of one that came to a loss that is not finite, those before."""

    losses: Sequence[float]
    """The training loss of each step, finite."""
    gradient_norms: Sequence[float]
    """The norm of the whole gradient of each step, before clipping; not all need be finite."""
    gradient_clip: float | None
    n_warmup: int
    """Steps over which the learning rate rises."""
    max_steps: int
    """Steps that were planned."""


class Monitor:
    """Base of the observers: a member overrides what it needs.

    An observer changes no number of its run: it is called without gradients, writes to nothing but itself, and may draw
    random numbers, since every batch begins with those of its own. Steps count from 1.

    After every ``training.monitor_every``-th step and after the last one comes a *look*: a few texts of the step's
    batch go through the model once more, with the new weights and without dropout.
    """

    def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
        """Every step: the gradients are there, not clipped yet, with the weights that made them.

        ``is_measured`` says whether a look follows this very update.
        """

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        """Hooks for the pass of a look; they are removed after it. The model is never the compiled one."""
        return ()

    def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        """After that pass: numbers for metrics.jsonl, by name.

        ``scores`` (N, V), at least in float32, are those that enter the loss. None: no observer needed the pass, or
        nothing was asked of these texts.
        """
        return {}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        """Once, at the end: what result.json says under ``stability``; None for what cannot be said."""
        return {}

    @classmethod
    def needs_forward(cls) -> bool:
        """Whether it looks at what a pass through the model leaves."""
        return cls.register_hooks is not Monitor.register_hooks


class Series:
    """One number over the looks of a run. What is not finite is left out."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def add(self, step: int, value: float) -> None:
        if math.isfinite(value):
            self.seen.append((step, value))

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.seen]

    def last_half(self, max_steps: int) -> list[tuple[int, float]]:
        """Steps and values from the middle of the run on."""
        return [(step, value) for step, value in self.seen if 2 * step >= max_steps]


def blocks_of(model: nn.Module) -> list[list[nn.Module]]:
    """The blocks of each stack, in the order in which they are passed: one stack, or an encoder's and a decoder's."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module))
    return [list(blocks) for blocks in lists if all(isinstance(block, Block) for block in blocks)]


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of the line of least squares through (x, y); None where all x are the same."""
    if len({x for x, _ in points}) < 2:
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
