"""Relative position representations: a vector per distance joins keys and values.

Shapes: B batch, L queries, S keys, H heads of queries, D features of a head.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout as drop

from ...registry import register
from ..backend import MaskedSoftmax
from ..context import Context
from ..shape import Shape
from .relative import Dropout, Relative, distances


@register("mixer", "shaw", source="Shaw et al. 2018, arXiv:1803.02155")
class Shaw(Relative):
    """softmax(q (k + a_K)^T / sqrt(D)) (v + a_V), with trained a_K and a_V for each distance, shared by all heads.

    Distances beyond ``clip`` count as ``clip``. ``values`` off leaves out a_V. The model's position must be none. No
    backend hands out the weights that a_V needs, so the formula is written out here.
    """

    called = "shaw"

    def __init__(
        self,
        shape: Shape,
        *,
        clip: Annotated[int, Field(ge=1)] = 16,
        values: bool = True,
        bias: bool = False,
        dropout: Dropout = 0.0,
    ):
        super().__init__(shape, bias, dropout)
        self.clip, self.future = clip, 0 if shape.causal else clip
        self.key_table = nn.Embedding(clip + 1 + self.future, shape.d_head)
        self.value_table = nn.Embedding(clip + 1 + self.future, shape.d_head) if values else None
        self.softmax = MaskedSoftmax()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k, v = self.content(x, context)
        k, v = self.for_every_query_head(k), self.for_every_query_head(v)
        rows = distances(context).clamp(-self.future, self.clip) + self.future  # the farthest future first
        on_keys = torch.einsum("bhld,blsd->bhls", q, self.key_table(rows))
        weights = self.softmax((q @ k.mT + on_keys) * self.d_head**-0.5, context.mask)
        weights = drop(weights, self.dropout if self.training else 0.0)
        y = weights @ v
        if self.value_table is not None:
            y = y + torch.einsum("bhls,blsd->bhld", weights, self.value_table(rows))
        return self.out(y.transpose(1, 2).flatten(2))
