"""Rope scaling: how rotary frequencies are slowed down for texts longer than those they were trained on.

Shapes: B batch, L tokens, P pairs of features that are turned. Frequencies are in radians per token, the fastest first.
"""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...registry import register
from ..base import BuildContext


@register("rope_scaling", "none", source="Su et al. 2021, arXiv:2104.09864")
class RopeScaling:
    """Frequencies as they are."""

    cacheable: ClassVar[bool] = True
    """Whether keys stay where they are while the text grows, so that a cache can hold them."""

    def __init__(self, build: BuildContext):
        self.attention_factor = 1.0
        """What turned queries and turned keys are multiplied with, each."""

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        """Frequencies (P,) in float64, theta ** (-j / P) for the j-th -> scaled ones, or what ``at`` makes them of."""
        return frequency

    def at(self, frequency: Tensor, positions: Tensor) -> Tensor:
        """What ``scale`` returned -> the frequencies for texts with these positions, (L,) or (B, L), that broadcast to
        (L, P) or (B, L, P)."""
        return frequency


@register("rope_scaling", "linear", source="Chen et al. 2023, arXiv:2306.15595")
class Linear(RopeScaling):
    """frequency / factor: positions are interpolated, as if tokens lay closer together."""

    def __init__(self, build: BuildContext, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(build)
        self.factor = factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        return frequency / self.factor


@register(
    "rope_scaling", "ntk", source="bloc97 2023, NTK-Aware Scaled RoPE; analyzed in Peng et al. 2023, arXiv:2309.00071"
)
class NTK(RopeScaling):
    """theta * factor^(P / (P - 1)): the fastest pair turns as before, the slowest ``factor`` times slower."""

    def __init__(self, build: BuildContext, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(build)
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
        build: BuildContext,
        *,
        factor: Annotated[float, Field(ge=1)] = 4.0,
        original_length: Annotated[int, Field(ge=1)] | None = None,
        beta_fast: Annotated[float, Field(gt=0)] = 32.0,
        beta_slow: Annotated[float, Field(gt=0)] = 1.0,
        truncate: bool = True,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
    ):
        super().__init__(build)
        if beta_fast <= beta_slow:
            raise ValueError(f"yarn: beta_fast {beta_fast} must be more turns than beta_slow {beta_slow}")
        self.factor, self.truncate = factor, truncate
        self.turns = (beta_fast, beta_slow)
        self.length = build.max_length if original_length is None else original_length
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
        build: BuildContext,
        *,
        factor: Annotated[float, Field(ge=1)] = 8.0,
        original_length: Annotated[int, Field(ge=1)] | None = None,
        low: Annotated[float, Field(gt=0)] = 1.0,
        high: Annotated[float, Field(gt=0)] = 4.0,
    ):
        super().__init__(build)
        if high <= low:
            raise ValueError(f"llama3 scaling: high {high} must be more turns than low {low}")
        self.factor, self.low, self.high = factor, low, high
        self.length = build.max_length if original_length is None else original_length

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        turns = self.length * frequency / math.tau
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * kept + frequency / self.factor * (1 - kept)


def length_of(positions: Tensor) -> Tensor:
    """How long each text is, by the last of its positions (L,) or (B, L): (1, 1) or (B, 1, 1)."""
    return positions.amax(-1)[..., None, None] + 1


@register(
    "rope_scaling",
    "dynamic_ntk",
    source="emozilla 2023, Dynamically Scaled RoPE; described in Peng et al. 2023, arXiv:2309.00071",
)
class DynamicNTK(RopeScaling):
    """ntk by a factor that grows with the text: factor * length / original - (factor - 1), so 1 up to the original.

    ``original_length`` is the length in tokens that the frequencies were trained on; None: the model's. Every new token
    beyond it moves all keys: no cache holds them.
    """

    cacheable = False

    def __init__(
        self,
        build: BuildContext,
        *,
        factor: Annotated[float, Field(ge=1)] = 4.0,
        original_length: Annotated[int, Field(ge=1)] | None = None,
    ):
        super().__init__(build)
        self.factor = factor
        self.length = build.max_length if original_length is None else original_length

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        if len(frequency) < 2:
            raise ValueError("dynamic_ntk slows the slowest pair and spares the fastest: one pair cannot be both")
        return frequency

    def at(self, frequency: Tensor, positions: Tensor) -> Tensor:
        pairs = len(frequency)
        beyond = (length_of(positions).to(frequency.dtype) / self.length).clamp(min=1)
        slower = self.factor * beyond - (self.factor - 1)
        return frequency * slower ** (-torch.arange(pairs, device=frequency.device) / (pairs - 1))


@register("rope_scaling", "longrope", source="Ding et al. 2024, arXiv:2402.13753")
class LongRope(RopeScaling):
    """frequency / short in texts up to the original length, frequency / long beyond it: a divisor for every pair.

    Both are found by a search, for one model. None: for ``short`` 1, for ``long`` those of ntk by ``factor``, where the
    search begins. ``original_length`` is the length in tokens that the frequencies were trained on; None: the model's.
    ``attention_factor`` sharpens the softmax; None: sqrt(1 + ln(factor) / ln(original)).
    """

    cacheable = False

    def __init__(
        self,
        build: BuildContext,
        *,
        factor: Annotated[float, Field(ge=1)] = 4.0,
        short: tuple[Annotated[float, Field(gt=0)], ...] | None = None,
        long: tuple[Annotated[float, Field(gt=0)], ...] | None = None,
        original_length: Annotated[int, Field(ge=2)] | None = None,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
    ):
        super().__init__(build)
        self.factor, self.short, self.long = factor, short, long
        self.length = build.max_length if original_length is None else original_length
        spread = math.sqrt(1 + math.log(factor) / math.log(self.length))
        self.attention_factor = spread if attention_factor is None else attention_factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        pairs = len(frequency)
        short = (1.0,) * pairs if self.short is None else self.short
        long = tuple(self.factor ** (j / max(1, pairs - 1)) for j in range(pairs)) if self.long is None else self.long
        for name, divisors in (("short", short), ("long", long)):
            if len(divisors) != pairs:
                raise ValueError(f"longrope: {name} has {len(divisors)} divisors for {pairs} pairs of features")
        return frequency / torch.tensor([short, long], dtype=frequency.dtype)

    def at(self, frequency: Tensor, positions: Tensor) -> Tensor:
        short, long = frequency
        return torch.where(length_of(positions) > self.length, long, short)
