"""Softmax attention.

Shapes: B batch, L tokens, S tokens that may be attended to, H heads of queries, G heads of keys and values, D features
of a head, M of the model.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, build_backend
from ..base import BuildContext, OutProjection, UnscaledQuery
from ..context import ForwardContext
from ..position.base import Position, distance
from ..qk_norm import QKNorm
from .base import Mixer

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@register(
    "mixer",
    "attention",
    source="Vaswani et al. 2017, arXiv:1706.03762; grouped heads: Ainslie et al. 2023, arXiv:2305.13245; soft cap: "
    "Gemma team 2024, arXiv:2408.00118; sinks: OpenAI 2025, arXiv:2508.10925; gate: Qiu et al. 2025, arXiv:2505.06708; "
    "window: Beltagy et al. 2020, arXiv:2004.05150; value residual: Zhou et al. 2024, arXiv:2410.17897; shared maps: "
    "Kitaev et al. 2020, arXiv:2001.04451",
)
class Attention(Mixer):
    """softmax(q k^T / sqrt(D)) v in several heads; query head h reads key and value head h // (H / G).

    - ``scale`` off leaves out 1 / sqrt(D); a number stands in its place (T5: 1.0), ``width`` puts 1 / D there, as the
      maximal update parametrization has it (Yang et al. 2022, arXiv:2203.03466).
    - ``tied_projections`` makes one map do for two: keys are made as queries are, so that scores are alike in both directions, or
      values as keys are, before these are placed.
    - ``bias`` is that of the maps to queries, keys and values; ``out_bias`` that of the last map, null: the same.
    - ``dropout`` falls on the attention weights.
    - ``qk_norm`` norms queries and keys before they are placed.
    - ``soft_cap`` keeps scaled scores s within it: cap tanh(s / cap), before a position's bias is added.
    - ``sinks`` gives each head a trained score that takes weight and hands out nothing.
    - ``gate`` multiplies what is read by sigmoid(W x), one number per ``head`` or per ``feature``.
    - ``window`` is how many positions back a token sees, itself among them (in both directions where not causal);
      every ``global_every``-th layer sees all: the last of so many, with ``global_first`` the first of them (GPT-Neo).
    - ``no_position_every``: every so many layers, one neither turns nor biases anything by position.
    - ``value_residual`` mixes the first layer's values into this one's, in trained shares that start at one half each.
    """

    cacheable = True

    def __init__(
        self,
        shape: BuildContext,
        *,
        scale: bool | Positive | Literal["width"] = True,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        qk_norm: Annotated[ComponentConfig[QKNorm], Slot("qk_norm")] = component("qk_norm", "none"),
        soft_cap: Positive | None = None,
        sinks: bool = False,
        gate: Literal["head", "feature"] | None = None,
        window: Count | None = None,
        global_every: Count | None = None,
        global_first: bool = False,
        no_position_every: Count | None = None,
        value_residual: bool = False,
        tied_projections: Literal["query_key", "key_value"] | None = None,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__()
        if global_every is not None and window is None:
            raise ValueError("global_every frees layers from a window: give attention a window, or leave it out")
        if global_first and global_every is None:
            raise ValueError("global_first says which of so many layers sees all: give attention global_every as well")
        self.d_head, self.dropout, self.soft_cap = shape.d_head, dropout, soft_cap
        if isinstance(scale, bool):
            self.scale = shape.d_head**-0.5 if scale else 1.0
        else:
            self.scale = 1 / shape.d_head if scale == "width" else scale
        sizes = shape.d_model, shape.n_heads * shape.d_head, bias
        self.query = UnscaledQuery(*sizes, shape.d_head) if self.scale == 1 else nn.Linear(*sizes)
        if tied_projections == "query_key" and shape.n_kv_heads != shape.n_heads:
            raise ValueError("keys can be made as queries are only where there are as many: set n_kv_heads to null")
        width = shape.n_kv_heads * shape.d_head
        self.key = None if tied_projections == "query_key" else nn.Linear(shape.d_model, width, bias)
        self.value = None if tied_projections == "key_value" else nn.Linear(shape.d_model, width, bias)
        self.out = OutProjection(shape.n_heads * shape.d_head, shape.d_model, bias if out_bias is None else out_bias)
        self.qk_norm: nn.Module = qk_norm.build(shape)
        self.sinks = nn.Parameter(torch.zeros(shape.n_heads)) if sinks else None
        gates = {None: 0, "head": shape.n_heads, "feature": shape.n_heads * shape.d_head}[gate]
        self.gate = nn.Linear(shape.d_model, gates, bias=False) if gates else None
        ahead = (global_every or 1) - 1 if global_first else 0
        self.window = None if is_every(global_every, shape.layer + ahead) else window
        self.no_position = Position(shape) if is_every(no_position_every, shape.layer) else None
        self.no_position_every = no_position_every
        self.value_residual, self.is_first = value_residual, shape.layer == 0
        mixes = value_residual and not self.is_first
        self.shares = nn.Parameter(torch.full((2,), 0.5)) if mixes else None
        self.backend: AttentionBackend = build_backend(
            backend,
            {
                "dropout": dropout > 0,
                "grouped_query": shape.n_kv_heads != shape.n_heads,
                "sinks": sinks,
                "soft_cap": soft_cap is not None,
            },
        )

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        source = x if context.memory is None else context.memory
        q, k, v = (self.heads(part) for part in self.project(x, source))
        q, k = self.qk_norm(q, k)
        v = self.with_first_values(v, context)
        position, new = self.position(context), context.positions if context.memory is None else context.key_positions
        q, k = position.rotate(q, k, context.positions, new)
        if context.cache is not None:
            k, v = context.cache.extend(self, k, v)
        bias = position.bias(q, k, context.positions, context.key_positions)
        p = self.dropout if self.training else 0.0
        y = self.backend(q, k, v, bias, self.within_window(context), self.scale, p, self.soft_cap, self.sinks)
        return self.out(self.gated(y, x).transpose(1, 2).flatten(2))

    def project(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of x (B, L, M), keys and values of the source (B, S, M), each (B, its length, heads * D)."""
        q = self.query(x)
        k = q if self.key is None and source is x else (self.key or self.query)(source)
        return q, k, k if self.value is None else self.value(source)

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, heads * D) -> (B, heads, L, D)."""
        return x.view(*x.shape[:-1], -1, self.d_head).transpose(1, 2)

    def with_first_values(self, v: Tensor, context: ForwardContext) -> Tensor:
        """Values (B, G, S, D) -> the same, with what the first layer made of the same tokens."""
        if not self.value_residual:
            return v
        place = "first values" if context.memory is None else "first values of the memory"
        if self.is_first:
            context.shared[place] = v
            return v
        if place not in context.shared:
            raise ValueError("value_residual needs attention with value_residual in the first layer too")
        assert self.shares is not None
        return self.shares[0] * context.shared[place] + self.shares[1] * v

    def position(self, context: ForwardContext) -> Position:
        """The model's, or none in the layers that do without."""
        if self.no_position_every is not None and not acts_in_attention(context.position):
            raise ValueError("no_position_every leaves out what a position adds in attention, and this one adds none")
        return context.position if self.no_position is None else self.no_position

    def within_window(self, context: ForwardContext) -> ForwardContext:
        if self.window is None:
            return context
        if context.memory is not None:
            raise ValueError("a window needs distances, and a memory has none: leave it out of cross-attention")
        near = distance(context.positions, context.key_positions).abs() < self.window
        return replace(context, mask=context.mask & near, causal=False)

    def gated(self, y: Tensor, x: Tensor) -> Tensor:
        """What the heads read (B, H, L, D), as far as the tokens x (B, L, M) let it through."""
        if self.gate is None:
            return y
        return y * self.gate(x).view(*x.shape[:2], y.size(1), -1).transpose(1, 2).sigmoid()


def is_every(n: int | None, layer: int) -> bool:
    """Whether this is the n-th, 2n-th, ... of the layers, which are counted from 0."""
    return n is not None and (layer + 1) % n == 0


def acts_in_attention(position: Position) -> bool:
    """Whether it turns queries and keys or biases scores, rather than adding to the embeddings alone."""
    kind = type(position)
    return kind.rotate is not Position.rotate or kind.bias is not Position.bias
