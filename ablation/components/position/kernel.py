"""Kernels: a trained function of the distance between query and key is added to each score.

Shapes: B batch, H heads, L queries, S keys, W hidden features.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..base import BuildContext, at_least_float32
from .base import Position, distance


class Kerple(Position):
    """Base of the kernels: two trained numbers per head, initially uniform, clamped as in the authors' code."""

    decayed_parameters = ()
    smallest = 1e-2

    def __init__(self, build: BuildContext):
        super().__init__(build)
        self.p = nn.Parameter(torch.ones(build.n_heads))
        self.a = nn.Parameter(torch.full([build.n_heads], 0.5))

    def initialize(self, generator: torch.Generator) -> None:
        """p uniform from 0 to 2, a from 0 to 1."""
        nn.init.uniform_(self.p, 0, 2, generator=generator)
        nn.init.uniform_(self.a, 0, 1, generator=generator)

    def clamp(self, parameter: Tensor, largest: float | None = None) -> Tensor:
        """Clamped to the bounds, (H, 1, 1), with the gradient of the unclamped number, so that it can come back."""
        unclamped = at_least_float32(parameter)[:, None, None]
        return unclamped + (unclamped.clamp(self.smallest, largest) - unclamped).detach()


@register("position", "kerple_log", source="Chi et al. 2022, arXiv:2205.09921")
class KerpleLog(Kerple):
    """-p log(1 + a distance), p and a trained per head and shared by all layers; the same in both directions."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        distances = distance(q_positions, k_positions).abs()
        return (-self.clamp(self.p) * (self.clamp(self.a) * distances).log1p()).to(q.dtype)


@register("position", "kerple_power", source="Chi et al. 2022, arXiv:2205.09921")
class KerplePower(Kerple):
    """-a distance^p, p up to 2 and a trained per head and shared by all layers; the same in both directions."""

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        distances = distance(q_positions, k_positions).abs()
        return (-self.clamp(self.a) * distances ** self.clamp(self.p, largest=2.0)).to(q.dtype)


@register("position", "fire", source="Li et al. 2023, arXiv:2310.04418")
class Fire(Position):
    """mlp(log(1 + c distance) / log(1 + c max(position, L))): the distance as a fraction of the query's position.

    Up to L the position does not matter; L is initialized to ``threshold``. c, L and the mlp of ``width`` hidden
    features are trained and shared by all layers; the mlp has no last bias, on which softmax would not depend.
    """

    decayed_parameters = ("weight", "out")

    def __init__(
        self,
        build: BuildContext,
        *,
        width: Annotated[int, Field(ge=1)] = 32,
        threshold: Annotated[float, Field(gt=0)] = 512.0,
        c: Annotated[float, Field(gt=0)] = 0.1,
        eps: Annotated[float, Field(gt=0)] = 1e-6,
    ):
        super().__init__(build)
        if not build.causal:
            raise ValueError("fire measures distances as fractions of the query's position: use it in a decoder")
        self.threshold, self.eps = threshold, eps
        self.c = nn.Parameter(torch.tensor(c))
        self.stretch = nn.Parameter(torch.tensor(1.0))  # L / threshold
        self.weight = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.out = nn.Parameter(torch.zeros(width, build.n_heads))

    def initialize(self, generator: torch.Generator) -> None:
        """As torch initializes nn.Linear(1, W) and nn.Linear(W, H): with biases of 0, half of the mlp would be dead."""
        nn.init.uniform_(self.weight, -1, 1, generator=generator)
        nn.init.uniform_(self.shift, -1, 1, generator=generator)
        bound = len(self.out) ** -0.5
        nn.init.uniform_(self.out, -bound, bound, generator=generator)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        c, threshold = at_least_float32(self.c).abs(), (at_least_float32(self.stretch) * self.threshold).abs()
        distances = distance(q_positions, k_positions).squeeze(-3).abs()  # (L, S) or (B, L, S)
        total = torch.maximum(q_positions.unsqueeze(-1).to(threshold.dtype), threshold)  # (L, 1) or (B, L, 1)
        fraction = (c * distances).log1p() / ((c * total).log1p() + self.eps)
        hidden = (fraction.unsqueeze(-1) * self.weight + self.shift).relu()
        # hidden @ out, in 0.4 to 0.65 of its time on a CPU: so few columns are multiplied faster by rows
        biases = F.linear(hidden.to(self.out.dtype), self.out.mT.contiguous())
        return biases.movedim(-1, -3).to(q.dtype)
