"""Rotary positions: queries and keys are turned, so that scores depend on the distance alone.

Shapes: B batch, H heads, L tokens, D features of a head.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ...registry import register
from ..shape import Shape
from .contract import Position, frequencies


@register("position", "rope", source="Su et al. 2021, arXiv:2104.09864")
class Rope(Position):
    """Turns pairs of query and key features by an angle proportional to the position.

    Feature i is paired with feature i + D/2, as in LLaMA; pairing neighbours is the same up to a permutation.
    """

    frequency: Tensor

    def __init__(self, shape: Shape, *, theta: Annotated[float, Field(gt=1)] = 10_000.0):
        super().__init__(shape)
        if shape.d_head % 2:
            raise ValueError(f"rope turns pairs of features: d_head {shape.d_head} is odd")
        self.register_buffer("frequency", frequencies(shape.d_head, theta), persistent=False)

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.turn(q, q_positions), self.turn(k, k_positions)

    def turn(self, x: Tensor, positions: Tensor) -> Tensor:
        angle = (positions.unsqueeze(-1) * self.frequency).unsqueeze(-3)  # (1, L, D/2) or (B, 1, L, D/2)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
