"""Transformer-XL's attention: what is there and where it is are asked for apart.

Shapes: B batch, L queries, S keys, H heads of queries, D features of a head, M of the model.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, register
from ..backend import Backend, build_backend
from ..context import Context
from ..position import Position, frequencies
from ..shape import Shape
from .relative import Dropout, Relative


@register("mixer", "transformer_xl", source="Dai et al. 2019, arXiv:1901.02860")
class TransformerXL(Relative):
    """softmax(((q + u) k^T + (q + v) (W R_distance)^T) / sqrt(D)) values, with R the sines and cosines of the distance.

    u and v (one vector per head each) are trained from 0. The model's position must be none. The paper's memory of
    the text before is what a cache is here.
    """

    called = "transformer_xl"

    def __init__(
        self,
        shape: Shape,
        *,
        base: Annotated[float, Field(gt=1)] = 10_000.0,
        bias: bool = False,
        dropout: Dropout = 0.0,
        backend: Annotated[ComponentConfig, Slot("backend")] = "sdpa",  # type: ignore[assignment]
    ):
        super().__init__(shape, bias, dropout)
        if shape.d_model % 2:
            raise ValueError(f"transformer_xl pairs sines with cosines: d_model {shape.d_model} is odd")
        self.distance = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head))
        self.distance_bias = nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head))
        self.waves = Waves(shape, base)
        wanted = {"bias": True, "dropout": dropout > 0, "groups": shape.n_kv_heads != shape.n_heads}
        self.backend: Backend = build_backend(backend, wanted)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k, values = self.content(x, context)
        scale, p = self.d_head**-0.5, self.dropout if self.training else 0.0
        on_distance = self.on_distance(q + self.distance_bias.to(q.dtype), context) * scale
        y = self.backend(q + self.content_bias.to(q.dtype), k, values, on_distance, context, scale, p)
        return self.out(y.transpose(1, 2).flatten(2))

    def on_distance(self, q: Tensor, context: Context) -> Tensor:
        """q (W R_(i - j))^T, (B, H, L, S), for queries (B, H, L, D) at positions i and keys at j.

        The sine and cosine of i - j are taken apart into those of i and of j: no array has L S M entries, and positions
        may be any.
        """
        w = self.distance.weight.view(self.n_heads, self.d_head, -1)
        on_sines, on_cosines = (q @ w.to(q.dtype)).chunk(2, -1)
        sin_i, cos_i = (part.to(q.dtype) for part in self.waves(context.positions))
        sin_j, cos_j = (part.to(q.dtype) for part in self.waves(context.key_positions))
        on_cos_j = on_sines * sin_i + on_cosines * cos_i
        on_sin_j = on_cosines * sin_i - on_sines * cos_i
        return on_cos_j @ cos_j.mT + on_sin_j @ sin_j.mT


class Waves(Position):
    """Sines and cosines of positions, in enough precision for far ones."""

    frequency: Tensor

    def __init__(self, shape: Shape, base: float):
        super().__init__(shape)
        self.constant("frequency", frequencies(shape.d_model, base))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(L,) or (B, L) -> sines and cosines, each (1, L, M/2) or (B, 1, L, M/2)."""
        angle = (positions.unsqueeze(-1) * self.frequency).unsqueeze(-3)
        return angle.sin(), angle.cos()
