"""Contextual positions: how far a key lies back is counted in what the query minds, not in tokens.

Shapes: B batch, L queries, S keys, H heads, G heads of keys, D features of a head, N places.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..shape import Shape
from .contract import Position, at_least_float32


@register("position", "cope", source="Golovneva et al. 2024, arXiv:2405.18719")
class CoPE(Position):
    """q e[p] / sqrt(D) for key j at p = sum of sigmoid(q k_i) over the keys i from j up to the query.

    Between whole places e is interpolated; p ends at ``places`` - 1, None: at the longest text. e is trained from 0,
    one for all heads and all layers, where the authors have one per layer.
    """

    def __init__(self, shape: Shape, *, places: Annotated[int, Field(ge=2)] | None = None):
        super().__init__(shape)
        if not shape.causal:
            raise ValueError(
                "cope counts the tokens that lie between a key and the query behind it: use it in a decoder"
            )
        self.table = nn.Parameter(torch.zeros(shape.max_length if places is None else places, shape.d_head))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        n_queries, n_keys = q.size(-2), k.size(-2)
        k = k.repeat_interleave(q.size(1) // k.size(1), 1)
        # By their order, not by positions, which padding shares with the token next to it.
        gates = at_least_float32(q @ k.mT).sigmoid().tril(n_keys - n_queries)  # (B, H, L, S)
        p = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=len(self.table) - 1)
        scores = q @ self.table.to(q.dtype).T * q.size(-1) ** -0.5  # (B, H, L, N)
        below = p.detach().floor()
        share = p - below
        above = scores.gather(-1, p.detach().ceil().long())
        return (scores.gather(-1, below.long()) * (1 - share) + above * share).to(q.dtype)
