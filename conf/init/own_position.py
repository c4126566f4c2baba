"""A position encoding in a file of its own."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ablation import BuildContext, Position, distance, register


@register("position", "log_distance")
class LogDistance(Position):
    """A bias -slope * log(1 + distance) on the scores, with a learned slope per head."""

    def __init__(self, build: BuildContext, *, slope: Annotated[float, Field(gt=0)] = 1.0):
        super().__init__(build)
        self.slope = nn.Parameter(torch.full((build.n_heads, 1, 1), slope))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return -self.slope.abs() * torch.log1p(distance(q_positions, k_positions).abs())
