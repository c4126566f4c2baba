"""Differential attention: what a second map sees as well is taken from the first as noise.

Shapes: B batch, L tokens, H heads of queries, G heads of keys and values, D features of a head.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, build_backend
from ..base import BuildContext, OutProjection
from ..context import ForwardContext
from ..qk_norm import RMS
from .base import Mixer


@register("mixer", "differential", source="Ye et al. 2024, arXiv:2410.05258")
class Differential(Mixer):
    """(1 - i) norm((softmax(q1 k1^T / sqrt(D)) - l softmax(q2 k2^T / sqrt(D))) v), with l trained from i by the layer.

    l = exp(a1 b1) - exp(a2 b2) + i and i = 0.8 - 0.6 exp(-0.3 layer), layers counted from 0. Heads h and h + H/2 are a
    pair, in keys and values too, as in transformers' DiffLlama: the authors pair neighbors, which without grouped
    heads is the same up to a permutation. A pair reads values of 2 D features, so that there are as many parameters as
    in attention with as many heads. ``std`` is the width of the vectors a and b at first.
    """

    cacheable = True

    def __init__(
        self,
        shape: BuildContext,
        *,
        bias: bool = False,
        std: Annotated[float, Field(gt=0)] = 0.1,
        eps: Annotated[float, Field(gt=0)] = 1e-5,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__()
        if shape.n_heads % 2 or shape.n_kv_heads % 2:
            numbers = f"n_heads {shape.n_heads} and n_kv_heads {shape.n_kv_heads}"
            raise ValueError(f"differential attention pairs heads: {numbers} must be even")
        self.d_head, self.std = shape.d_head, std
        self.query = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias)
        self.key = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.value = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.out = OutProjection(shape.n_heads * shape.d_head, shape.d_model, bias)
        self.norm = RMS(2 * shape.d_head, eps)
        self.vectors = nn.Parameter(torch.zeros(2, 2, shape.d_head))  # (which map, a or b, D)
        self.start = 0.8 - 0.6 * math.exp(-0.3 * shape.layer)
        wanted = {"value_dim": True, "grouped_query": shape.n_kv_heads != shape.n_heads}
        self.backend: AttentionBackend = build_backend(backend, wanted)  # type: ignore[arg-type]

    def initialize(self, generator: Generator) -> None:
        nn.init.normal_(self.vectors, std=self.std, generator=generator)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        source = x if context.memory is None else context.memory
        q, k, v = self.heads(self.query(x)), self.heads(self.key(source)), self.heads(self.value(source))
        new = context.positions if context.memory is None else context.key_positions
        q, k = context.position.rotate(q, k, context.positions, new)
        if context.cache is not None:
            k, v = context.cache.extend(self, k, v)
        bias = context.position.bias(q, k, context.positions, context.key_positions)
        v = torch.cat(v.chunk(2, 1), -1).repeat(1, 2, 1, 1)  # both maps of a pair read the values of both
        first, second = self.backend(q, k, v, bias, context, self.d_head**-0.5, 0.0).chunk(2, 1)
        one, other = self.vectors.prod(1).sum(-1).exp()
        y = (1 - self.start) * self.norm(first - (one - other + self.start) * second)
        return self.out(y.transpose(1, 2).flatten(2))

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, heads * D) -> (B, heads, L, D)."""
        return x.view(*x.shape[:-1], -1, self.d_head).transpose(1, 2)
