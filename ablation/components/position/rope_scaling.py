"""Rope scaling: rotary frequencies are lowered for sequences longer than those of training.

Shapes: B batch, L tokens, P pairs of rotated features. Frequencies are in radians per token, the highest first.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...registry import register
from ..base import BuildContext


@register("rope_scaling", "none", source="Su et al. 2021, arXiv:2104.09864")
class RopeScaling:
    """No scaling of the frequencies."""

    cacheable: ClassVar[bool] = True
    """Whether rotated keys stay valid in a cache while the sequence grows."""

    def __init__(self, build: BuildContext):
        self.attention_factor = 1.0
        """A factor of rotated queries and of rotated keys."""

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        """Frequencies (P,) in float64, theta ** (-j / P) for the j-th -> scaled ones, or the input of ``at``.

        Errors: ValueError where there are too few pairs of features P to scale.
        """
        return frequency

    def at(self, frequency: Tensor, positions: Tensor) -> Tensor:
        """The output of ``scale`` and positions (L,) or (B, L) -> frequencies that broadcast to (L, P) or (B, L, P)."""
        return frequency


@register("rope_scaling", "linear", source="Chen et al. 2023, arXiv:2306.15595")
class Linear(RopeScaling):
    """frequency / factor: positions are interpolated, as if tokens were closer together."""

    def __init__(self, build: BuildContext, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(build)
        self.factor = factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        return frequency / self.factor


@register(
    "rope_scaling", "ntk", source="bloc97 2023, NTK-Aware Scaled RoPE; analyzed in Peng et al. 2023, arXiv:2309.00071"
)
class NTK(RopeScaling):
    """theta * factor^(P / (P - 1)): the highest frequency stays, the lowest is divided by ``factor``."""

    def __init__(self, build: BuildContext, *, factor: Annotated[float, Field(ge=1)] = 4.0):
        super().__init__(build)
        self.factor = factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        pairs = len(frequency)
        if pairs < 2:
            raise ValueError("ntk scales the lowest frequency and leaves the highest: one pair cannot be both")
        return (theta * self.factor ** (pairs / (pairs - 1))) ** (-torch.arange(pairs, dtype=frequency.dtype) / pairs)


class FromOriginalLength(RopeScaling):
    """Base of the scalings that depend on the length of training, ``original_length`` in tokens; None: the model's."""

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


@register("rope_scaling", "yarn", source="Peng et al. 2023, arXiv:2309.00071")
class Yarn(FromOriginalLength):
    """Frequencies of over ``beta_fast`` rotations in the original length stay, those below ``beta_slow`` are lowered.

    Between the two, scaling sets in linearly with the index of the pair; ``truncate`` rounds the two indices outwards.
    ``original_length`` is the length of training in tokens; None: the model's. ``attention_factor`` sharpens the
    softmax; None: 0.1 ln(factor) + 1.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        beta_fast: Annotated[float, Field(gt=0)] = 32.0,
        beta_slow: Annotated[float, Field(gt=0)] = 1.0,
        truncate: bool = True,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
        **options: Any,
    ):
        super().__init__(build, **options)
        if beta_fast <= beta_slow:
            raise ValueError(f"yarn: beta_fast {beta_fast} must be more rotations than beta_slow {beta_slow}")
        self.truncate, self.rotations = truncate, (beta_fast, beta_slow)
        self.attention_factor = 0.1 * math.log(self.factor) + 1 if attention_factor is None else attention_factor

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        pairs = len(frequency)
        # The index, not rounded, of the pair with so many rotations in the original length.
        low, high = (pairs * math.log(self.length / (n * math.tau)) / math.log(theta) for n in self.rotations)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low = max(low, 0)
        high = max(min(high, 2 * pairs - 1), low + 0.001)  # no division by 0 where the two are the same
        scaled = ((torch.arange(pairs, dtype=frequency.dtype) - low) / (high - low)).clamp(0, 1)
        return frequency * (1 - scaled) + frequency / self.factor * scaled


@register("rope_scaling", "llama3", source="Grattafiori et al. 2024, arXiv:2407.21783")
class Llama3(FromOriginalLength):
    """Frequencies of over ``high`` rotations in the original length stay; below ``low`` they are divided by ``factor``.

    Between the two, scaling sets in linearly with the number of rotations. ``original_length`` is the length of
    training in tokens; None: the model's.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        factor: Annotated[float, Field(ge=1)] = 8.0,
        low: Annotated[float, Field(gt=0)] = 1.0,
        high: Annotated[float, Field(gt=0)] = 4.0,
        **options: Any,
    ):
        super().__init__(build, factor=factor, **options)
        if high <= low:
            raise ValueError(f"llama3 scaling: high {high} must be more rotations than low {low}")
        self.low, self.high = low, high

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        rotations = self.length * frequency / math.tau
        unscaled = ((rotations - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * unscaled + frequency / self.factor * (1 - unscaled)


def length_of(positions: Tensor) -> Tensor:
    """The length of each sequence, from its positions (L,) or (B, L): (1, 1) or (B, 1, 1)."""
    return positions.amax(-1)[..., None, None] + 1


@register(
    "rope_scaling",
    "dynamic_ntk",
    source="emozilla 2023, Dynamically Scaled RoPE; described in Peng et al. 2023, arXiv:2309.00071",
)
class DynamicNTK(FromOriginalLength):
    """ntk by a factor that grows with the sequence: factor * length / original - (factor - 1), 1 up to the original.

    ``original_length`` is the length of training in tokens; None: the model's. Every new token beyond it changes the
    rotation of all keys, so no cache can hold them.
    """

    cacheable = False

    def scale(self, frequency: Tensor, theta: float) -> Tensor:
        if len(frequency) < 2:
            raise ValueError("dynamic_ntk scales the lowest frequency and leaves the highest: one pair cannot be both")
        return frequency

    def at(self, frequency: Tensor, positions: Tensor) -> Tensor:
        pairs = len(frequency)
        extension = (length_of(positions).to(frequency.dtype) / self.length).clamp(min=1)
        factor = self.factor * extension - (self.factor - 1)
        return frequency * factor ** (-torch.arange(pairs, device=frequency.device) / (pairs - 1))


@register("rope_scaling", "longrope", source="Ding et al. 2024, arXiv:2402.13753")
class LongRope(FromOriginalLength):
    """frequency / short in sequences up to the original length, frequency / long beyond: a divisor for every pair.

    Both are results of a search, for one model. None: for ``short`` 1, for ``long`` those of ntk by ``factor``, where
    the search begins. ``original_length`` is the length of training in tokens; None: the model's. ``attention_factor``
    sharpens the softmax; None: sqrt(1 + ln(factor) / ln(original)).
    """

    cacheable = False

    def __init__(
        self,
        build: BuildContext,
        *,
        short: tuple[Annotated[float, Field(gt=0)], ...] | None = None,
        long: tuple[Annotated[float, Field(gt=0)], ...] | None = None,
        original_length: Annotated[int, Field(ge=2)] | None = None,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
        **options: Any,
    ):
        super().__init__(build, original_length=original_length, **options)
        self.short, self.long = short, long
        default = math.sqrt(1 + math.log(self.factor) / math.log(self.length))
        self.attention_factor = default if attention_factor is None else attention_factor

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
