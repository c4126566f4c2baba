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
    """Planned steps; those of a run that was stopped early."""


class Monitor:
    """Base class of the monitors; each overrides what it needs.

    A monitor changes no number of its run: it is called without gradients and writes to nothing but itself. It may use
    random numbers, since every batch is seeded anew. Steps count from 1.

    Monitors measure after every ``training.monitor_every``-th step and after the last one: a few examples of the step's
    batch go through the model once more, with the new weights and without dropout.

    What it has gathered is part of a run's checkpoints, so that an interrupted run goes on as if it had not been.
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

    def state_dict(self) -> dict[str, Any]:
        """All attributes of the monitor, between two steps: numbers, strings, tensors, Series, and lists, tuples, sets
        and dictionaries of them. A monitor that has others overrides this and ``load_state_dict``.

        Errors: TypeError for what cannot be saved.
        """
        return {name: to_plain(value, f"monitor {type(self).__name__}: {name}") for name, value in vars(self).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become as the monitor was that gave this state."""
        vars(self).update({name: from_plain(value) for name, value in state.items()})

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


SERIES = "<series>"
"""The key of a dictionary that stands for a Series."""


def to_plain(value: Any, place: str) -> Any:
    """A value of which a checkpoint is made: numbers, strings, tensors, and lists, tuples, sets and dictionaries.

    ``place`` names it in the error. Errors: TypeError for values of other types.
    """
    if isinstance(value, Series):
        return {SERIES: list(value.points)}
    if isinstance(value, float):  # also NumPy's, which a checkpoint may not hold
        return float(value)
    if value is None or isinstance(value, Tensor) or type(value) in (bool, int, str):
        return value
    if type(value) is dict:
        return {to_plain(key, place): to_plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(to_plain(item, f"{place}[{index}]") for index, item in enumerate(value))
    raise TypeError(
        f"{place} is a {type(value).__name__}, which no checkpoint can hold; give it a state_dict and a "
        "load_state_dict of its own, of numbers, strings, tensors, lists and dictionaries"
    )


def from_plain(value: Any) -> Any:
    """The value of which ``to_plain`` made this."""
    if type(value) is dict:
        if value.keys() == {SERIES}:
            series = Series()
            series.points = list(value[SERIES])
            return series
        return {key: from_plain(item) for key, item in value.items()}
    return type(value)(map(from_plain, value)) if type(value) in (list, tuple, set) else value


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
