"""Rotary positions: queries and keys are rotated, so that scores depend on the distance alone.

Shapes: B batch, H heads, L tokens, D features of a head, R of them rotated, in P pairs.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext
from .base import Position, frequencies
from .rope_scaling import RopeScaling


@register("position", "rope", source="Su et al. 2021, arXiv:2104.09864")
class Rope(Position):
    """Rotates pairs of query and key features by an angle proportional to the position.

    ``rotary_fraction`` is the fraction of a head's features that are rotated, the first R of them. ``layout`` pairs i
    with i + R/2 (half: LLaMA) or 2i with 2i + 1 (interleaved: the paper, GPT-J): the same up to a permutation.
    ``scaling`` lowers the frequencies for longer sequences.
    """

    frequency: Tensor

    def __init__(
        self,
        build: BuildContext,
        *,
        theta: Annotated[float, Field(gt=1)] = 10_000.0,
        rotary_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0,
        layout: Literal["half", "interleaved"] = "half",
        scaling: Annotated[ComponentConfig[RopeScaling], Slot("rope_scaling")] = component("rope_scaling", "none"),
    ):
        super().__init__(build)
        n_rotated = build.d_head * rotary_fraction
        if build.d_head % 2 and rotary_fraction == 1:
            raise ValueError(f"rope rotates pairs of features: d_head {build.d_head} is odd")
        if round(n_rotated, 6) % 2 or n_rotated < 1:
            numbers = f"rotary_fraction {rotary_fraction} of d_head {build.d_head} is {n_rotated:g}"
            raise ValueError(f"rope rotates pairs of features: {numbers}")
        self.interleaved = layout == "interleaved"
        self.scaling: RopeScaling = scaling.build(build)
        self.gain, self.cacheable = self.scaling.attention_factor, self.scaling.cacheable
        self.constant("frequency", self.scaling.scale(frequencies(round(n_rotated), theta), theta))

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        waves = self.waves(q_positions, self.gain)
        k_waves = waves if k_positions is q_positions else self.waves(k_positions, self.gain)
        return self.apply_rotation(q, *waves), self.apply_rotation(k, *k_waves)

    def waves(self, positions: Tensor, gain: Tensor | float) -> tuple[Tensor, Tensor]:
        """What a feature and its partner are multiplied by at positions (L,) or (B, L): (1, L, R) or (B, 1, L, R).

        These are the cosines of the angles and their sines, negative for the first feature of a pair, times the gain.
        """
        angle = (positions.unsqueeze(-1) * self.scaling.at(self.frequency, positions)).unsqueeze(-3)
        cos, sin = angle.cos() * gain, angle.sin() * gain
        return self.pairs(cos, cos), self.pairs(-sin, sin)

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """The first and second features of pairs, both (..., P), in the order of the layout: (..., R)."""
        return torch.stack([a, b], -1).flatten(-2) if self.interleaved else torch.cat([a, b], -1)

    def apply_rotation(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Features (B, H, L, D), the first R of them times cos plus their partners times sin."""
        n_rotated, cos, sin = cos.size(-1), cos.to(x.dtype), sin.to(x.dtype)
        if n_rotated < x.size(-1):
            x, rest = x.tensor_split([n_rotated], -1)
            return torch.cat([self.apply_rotation(x, cos, sin), rest], -1)
        return x * cos + self.partners(x) * sin

    def partners(self, x: Tensor) -> Tensor:
        """Features (..., R), the two of each pair exchanged."""
        return x.view(*x.shape[:-1], -1, 2).flip(-1).flatten(-2) if self.interleaved else x.roll(x.size(-1) // 2, -1)


@register("position", "xpos", source="Sun et al. 2022, arXiv:2212.10554")
class XPos(Rope):
    """Rope whose scores also decay with the distance n, as zeta_j^(n / scale_base) in pair j of P.

    zeta_j = (j / P + gamma) / (1 + gamma), so that high frequencies decay first. The decay is split between query and
    key at the middle of the model's length, the same in all passes, so that a cache can hold the keys.
    """

    decay: Tensor

    def __init__(
        self,
        build: BuildContext,
        *,
        theta: Annotated[float, Field(gt=1)] = 10_000.0,
        scale_base: Annotated[float, Field(gt=0)] = 512.0,
        gamma: Annotated[float, Field(gt=0)] = 0.4,
    ):
        super().__init__(build, theta=theta)
        if not build.causal:
            raise ValueError("xpos decays towards the past and grows towards the future: use it in a decoder")
        pairs = build.d_head // 2
        zeta = (torch.arange(pairs, dtype=torch.float64) / pairs + gamma) / (1 + gamma)
        limit = int(80 * scale_base / -math.log(gamma / (1 + gamma)))  # float32 ends at e^88
        if build.max_length > limit:
            raise ValueError(f"xpos with scale_base {scale_base:g} allows {limit} tokens, not {build.max_length}")
        self.middle = build.max_length // 2
        self.constant("decay", zeta.log() / scale_base)

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        q = self.apply_rotation(q, *self.waves(q_positions, self.decay_factor(q_positions)))
        return q, self.apply_rotation(k, *self.waves(k_positions, 1 / self.decay_factor(k_positions)))

    def decay_factor(self, positions: Tensor) -> Tensor:
        """The factor of each pair at the positions, (1, L, P) or (B, 1, L, P)."""
        return ((positions - self.middle).unsqueeze(-1) * self.decay).exp().unsqueeze(-3)
