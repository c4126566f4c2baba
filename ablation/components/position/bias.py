"""Biases: something is added to the scores for the distance between query and key.

Shapes: B batch, H heads, L queries, S keys.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..shape import Shape
from .contract import Position, distance


@register("position", "alibi", source="Press et al. 2021, arXiv:2108.12409")
class Alibi(Position):
    """A penalty on the scores that grows with the distance, at a fixed slope per head."""

    slopes: Tensor

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.n_heads)[:, None, None], persistent=False)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return -self.slopes * distance(q_positions, k_positions).abs()


@register("position", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Position):
    """A trained bias per head and per range of distances to the past, shared by all layers.

    The nearer half of the ``buckets`` holds one distance each, the farther half ranges that grow by a constant factor
    up to ``farthest`` tokens, beyond which all distances share the last.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32,
        farthest: Annotated[int, Field(ge=4)] = 128,
    ):
        super().__init__(shape)
        if farthest <= buckets // 2:
            raise ValueError(
                f"farthest {farthest} must lie beyond the {buckets // 2} distances that have a bucket each"
            )
        self.farthest, self.std = farthest, shape.d_model**-0.5
        self.table = nn.Parameter(torch.zeros(buckets, shape.n_heads))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.table, std=self.std, generator=generator)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return self.table[self.bucket(distance(q_positions, k_positions).squeeze(-3))].movedim(-1, -3)

    def bucket(self, distance: Tensor) -> Tensor:
        """Distances to the past in tokens -> index of the bucket; the future falls into the first."""
        exact = len(self.table) // 2
        past = distance.clamp(min=0)
        log_distance = (past.clamp(min=exact) / exact).log() / math.log(self.farthest / exact)
        far = exact + (log_distance * exact).long()
        return torch.where(past < exact, past, far.clamp(max=2 * exact - 1))


def alibi_slopes(n_heads: int) -> Tensor:
    """One slope per head, (H,): a geometric series for a power of two, else the next lower series and every second
    slope of the next higher one, as in the authors' code."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * head / power) for head in range(1, power + 1)]
    slopes += [2 ** (-4 * head / power) for head in range(1, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes)
