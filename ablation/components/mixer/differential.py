"""Differential attention: what two attention maps have in common is subtracted as noise.

Shapes: B batch, L tokens, H heads of queries, G heads of keys and values, D features of a head.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, AttentionInputs, build_backend
from ..base import BuildContext, Linear
from ..context import ForwardContext
from ..qk_norm import RMS
from .base import Mixer, merge_heads, split_heads


@register("mixer", "differential", source="Ye et al. 2024, arXiv:2410.05258")
class Differential(Mixer):
    """(1 - i) norm((softmax(q1 k1^T / sqrt(D)) - l softmax(q2 k2^T / sqrt(D))) v), with l trained from i by the layer.

    l = exp(a1 b1) - exp(a2 b2) + i and i = 0.8 - 0.6 exp(-0.3 layer), layers counted from 0. Heads h and h + H/2 are a
    pair, in keys and values too, as in transformers' DiffLlama: the authors pair neighbors, which without grouped
    heads is the same up to a permutation. A pair reads values of 2 D features, so that there are as many parameters as
    in attention with as many heads. ``std`` is the standard deviation of the initial a and b.
    """

    decayed_parameters = ()
    cacheable = True

    def __init__(
        self,
        build: BuildContext,
        *,
        bias: bool = False,
        std: Annotated[float, Field(gt=0)] = 0.1,
        eps: Annotated[float, Field(gt=0)] = 1e-5,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__()
        if build.n_heads % 2 or build.n_kv_heads % 2:
            numbers = f"n_heads {build.n_heads} and n_kv_heads {build.n_kv_heads}"
            raise ValueError(f"differential attention pairs heads: {numbers} must be even")
        self.n_heads, self.n_kv_heads, self.std = build.n_heads, build.n_kv_heads, std
        self.scale = build.d_head**-0.5
        self.query = nn.Linear(build.d_model, build.n_heads * build.d_head, bias)
        self.key = nn.Linear(build.d_model, build.n_kv_heads * build.d_head, bias)
        self.value = nn.Linear(build.d_model, build.n_kv_heads * build.d_head, bias)
        self.out = Linear(build.n_heads * build.d_head, build.d_model, bias, role="out_projection")
        self.norm = RMS(2 * build.d_head, eps)
        self.vectors = nn.Parameter(torch.zeros(2, 2, build.d_head))  # (which map, a or b, D)
        self.start = 0.8 - 0.6 * math.exp(-0.3 * build.layer)
        grouped = build.n_kv_heads != build.n_heads
        self.backend = build_backend(backend, {"value_dim": True, "grouped_query": grouped})

    def initialize(self, generator: Generator) -> None:
        """Normal vectors of lambda, with ``std``."""
        nn.init.normal_(self.vectors, std=self.std, generator=generator)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q = split_heads(self.query(x), self.n_heads)
        if context.memory is None:
            k, v = self.keys_and_values(x)
        else:
            k, v = context.from_memory(self, self.keys_and_values)
        q, k = context.rotate(q, k)
        k, v = context.extend_cache(self, k, v)
        bias, unmasked = context.bias(q, k), context.unmasked
        v = torch.cat(v.chunk(2, 1), -1).repeat(1, 2, 1, 1)  # both maps of a pair read the values of both
        inputs = AttentionInputs(q, k, v, context.mask, self.scale, bias, context.causal, unmasked=unmasked)
        y = (1 - self.start) * self.norm(self.combine_maps(self.backend(inputs)))
        return self.out(merge_heads(y))

    def keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Of a source (B, S, M), each (B, G, S, D)."""
        return split_heads(self.key(source), self.n_kv_heads), split_heads(self.value(source), self.n_kv_heads)

    @property
    def n_outputs(self) -> int:
        """A pair of heads has one output."""
        return self.n_heads // 2

    def combine_maps(self, maps: Tensor) -> Tensor:
        """The first of each pair less l times the second: (B, H, L, features or keys) -> (B, H/2, L, ...)."""
        first, second = maps.chunk(2, 1)
        one, other = self.vectors.prod(1).sum(-1).exp()
        return first - (one - other + self.start) * second
