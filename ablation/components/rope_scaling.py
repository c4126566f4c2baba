"""Rope scaling: how rotary frequencies are slowed down for texts longer than those they were trained on.

Shapes: P pairs of features that are turned. Frequencies are in radians per token, the fastest first. Scaling by the
length of the text at hand ("dynamic") is left out: it would move the keys that a cache already holds.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..registry import register
from .shape import Shape


@register("rope_scaling", "none", source="Su et al. 2021, arXiv:2104.09864")
class RopeScaling:
    """Frequencies as they are."""

    def __init__(self, shape: Shape):
        self.attention_factor = 1.0
        """What turned queries and turned keys are multiplied with, each."""

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        """Frequencies (P,) in float64, theta ** (-j / P) for the j-th -> scaled ones."""
        return frequency


@register("rope_scaling", "linear", source="Chen et al. 2023, arXiv:2306.15595")
class Linear(RopeScaling):
    """frequency / factor: positions are interpolated, as if tokens lay closer together."""

    def __init__(self, shape: Shape, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(shape)
        self.factor = factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        return frequency / self.factor


@register(
    "rope_scaling", "ntk", source="bloc97 2023, NTK-Aware Scaled RoPE; analysed in Peng et al. 2023, arXiv:2309.00071"
)
class NTK(RopeScaling):
    """theta * factor^(P / (P - 1)): the fastest pair turns as before, the slowest ``factor`` times slower."""

    def __init__(self, shape: Shape, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(shape)
        self.factor = factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        pairs = len(frequency)
        if pairs < 2:
            raise ValueError("ntk scaling slows the slowest pair and spares the fastest: one pair cannot be both")
        return (theta * self.factor ** (pairs / (pairs - 1))) ** (-torch.arange(pairs, dtype=frequency.dtype) / pairs)


@register("rope_scaling", "yarn", source="Peng et al. 2023, arXiv:2309.00071")
class Yarn(RopeScaling):
    """Pairs that turn more than ``beta_fast`` times in the original length stay, below ``beta_slow`` they slow down.

    Between the two the pairs' indices, rounded outwards where ``truncate``, blend linearly. ``original_length`` is the
    length in tokens that the frequencies were trained on; None: the model's. ``attention_factor`` sharpens the softmax;
    None: 0.1 ln(factor) + 1.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        factor: Annotated[float, Field(ge=1)] = 4.0,
        original_length: Annotated[int, Field(ge=1)] | None = None,
        beta_fast: Annotated[float, Field(gt=0)] = 32.0,
        beta_slow: Annotated[float, Field(gt=0)] = 1.0,
        truncate: bool = True,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
    ):
        super().__init__(shape)
        if beta_fast <= beta_slow:
            raise ValueError(f"yarn: beta_fast {beta_fast} must be more turns than beta_slow {beta_slow}")
        self.factor, self.truncate = factor, truncate
        self.turns = (beta_fast, beta_slow)
        self.length = shape.max_length if original_length is None else original_length
        self.attention_factor = 0.1 * math.log(factor) + 1 if attention_factor is None else attention_factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        pairs = len(frequency)
        # The index, as a fraction, of the pair that turns so often in the original length.
        low, high = (pairs * math.log(self.length / (turns * math.tau)) / math.log(theta) for turns in self.turns)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low = max(low, 0)
        high = max(min(high, 2 * pairs - 1), low + 0.001)  # a step where there is no room for a ramp
        slowed = ((torch.arange(pairs, dtype=frequency.dtype) - low) / (high - low)).clamp(0, 1)
        return frequency * (1 - slowed) + frequency / self.factor * slowed


@register("rope_scaling", "llama3", source="Grattafiori et al. 2024, arXiv:2407.21783")
class Llama3(RopeScaling):
    """Pairs that turn more than ``high`` times in the original length stay, below ``low`` they slow down by ``factor``.

    Between the two they blend linearly in the number of turns. ``original_length`` is the length in tokens that the
    frequencies were trained on; None: the model's.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        factor: Annotated[float, Field(ge=1)] = 8.0,
        original_length: Annotated[int, Field(ge=1)] | None = None,
        low: Annotated[float, Field(gt=0)] = 1.0,
        high: Annotated[float, Field(gt=0)] = 4.0,
    ):
        super().__init__(shape)
        if high <= low:
            raise ValueError(f"llama3 scaling: high {high} must be more turns than low {low}")
        self.factor, self.low, self.high = factor, low, high
        self.length = shape.max_length if original_length is None else original_length

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        turns = self.length * frequency / math.tau
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * kept + frequency / self.factor * (1 - kept)
