"""Biases: a number that depends on the distance between query and key is added to each score.

Shapes: B batch, H heads, L queries, S keys.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import added_later, register
from ..base import BuildContext
from .base import Position, distance


@register("position", "alibi", source="Press et al. 2021, arXiv:2108.12409")
class Alibi(Position):
    """A penalty on the scores that grows with the distance, at a fixed slope per head; the same in both directions."""

    slopes: Tensor

    def __init__(self, build: BuildContext):
        super().__init__(build)
        self.constant("slopes", alibi_slopes(build.n_heads)[:, None, None])

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return (-self.slopes * distance(q_positions, k_positions).abs()).to(q.dtype)


@register("position", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Position):
    """A trained bias per head and per range of distances, shared by all layers.

    The nearer half of the ``buckets`` holds one distance each, the farther half ranges that grow by a constant factor
    up to ``max_distance`` tokens, beyond which all distances have the last one. Where tokens may attend to later ones,
    one half of the buckets is for the past, the other for the future. Biases start normal with ``std``; null:
    1 / sqrt(M), as in the authors' code.
    """

    decayed_parameters = ()

    def __init__(
        self,
        build: BuildContext,
        *,
        buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32,
        max_distance: Annotated[int, Field(ge=4)] = 128,
        std: Annotated[float | None, Field(ge=0), added_later(None)] = None,
    ):
        super().__init__(build)
        self.causal = build.causal
        self.directed = buckets if build.causal else buckets // 2
        """Buckets of one direction."""
        if self.directed % 2:
            raise ValueError(f"t5 in both directions divides its buckets by 4: {buckets} is not a multiple of 4")
        if max_distance <= self.directed // 2:
            n_exact = self.directed // 2
            raise ValueError(
                f"max_distance {max_distance} must lie beyond the {n_exact} distances with their own bucket"
            )
        self.max_distance, self.std = max_distance, build.d_model**-0.5 if std is None else std
        self.table = nn.Parameter(torch.zeros(buckets, build.n_heads))

    def initialize(self, generator: torch.Generator) -> None:
        """A normal table, with ``std``."""
        nn.init.normal_(self.table, std=self.std, generator=generator)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        bucket = self.bucket(distance(q_positions, k_positions).squeeze(-3))
        return self.table[bucket].movedim(-1, -3).to(q.dtype)

    def bucket(self, distance: Tensor) -> Tensor:
        """Distances to the past in tokens (..., L, S) -> buckets; if causal, the future falls into the first."""
        if self.causal:
            return self.range(distance.clamp(min=0))
        return self.range(distance.abs()) + self.directed * (distance < 0)

    def range(self, distance: Tensor) -> Tensor:
        """Distances in one direction (..., L, S) -> index of the range."""
        exact = self.directed // 2
        log_distance = (distance.clamp(min=exact).float() / exact).log() / math.log(self.max_distance / exact)
        beyond = exact + (log_distance * exact).long()
        return torch.where(distance < exact, distance, beyond.clamp(max=2 * exact - 1))


def alibi_slopes(n_heads: int) -> Tensor:
    """One slope per head, (H,): a geometric series for a power of two, else the next lower series and every second
    slope of the next higher one, as in the authors' code; in float64."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * head / power) for head in range(1, power + 1)]
    slopes += [2 ** (-4 * head / power) for head in range(1, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes, dtype=torch.float64)
