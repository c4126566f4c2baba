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
from ..attention_backend import AttentionBackend, AttentionInputs, build_backend
from ..base import BuildContext, Linear
from ..context import ForwardContext
from ..position.base import distance
from ..qk_norm import QKNorm
from .base import Mixer, merge_heads, split_heads

Positive = Annotated[float, Field(gt=0)]


@register(
    "mixer",
    "attention",
    source="Vaswani et al. 2017, arXiv:1706.03762; grouped heads: Ainslie et al. 2023, arXiv:2305.13245; soft cap: "
    "Gemma team 2024, arXiv:2408.00118; sinks: OpenAI 2025, arXiv:2508.10925; gate: Qiu et al. 2025, arXiv:2505.06708; "
    "window: Beltagy et al. 2020, arXiv:2004.05150; value residual: Zhou et al. 2024, arXiv:2410.17897; tied "
    "projections: Kitaev et al. 2020, arXiv:2001.04451",
)
class Attention(Mixer):
    """softmax(q k^T / sqrt(D)) v in several heads; query head h reads key and value head h // (H / G).

    - ``scale`` off leaves out 1 / sqrt(D); a number takes its place (T5: 1.0), ``width`` makes it 1 / D, as in the
      maximal update parametrization (Yang et al. 2022, arXiv:2203.03466).
    - ``tied_projections`` makes one map serve two purposes: ``query_key``, so that scores are symmetric, or
      ``key_value``, before positions are applied.
    - ``bias`` is that of the maps to queries, keys and values; ``out_bias`` that of the last map, null: the same.
    - ``dropout`` is applied to the attention weights.
    - ``qk_norm`` normalizes queries and keys before positions are applied.
    - ``soft_cap`` bounds scaled scores s: cap tanh(s / cap), before a position's bias is added.
    - ``sinks`` gives each head a trained score that takes weight and contributes no value.
    - ``gate`` multiplies the output by sigmoid(W x), one number per ``head`` or per ``feature``.
    - ``window`` is how many positions back a token may attend, itself included (in both directions where not causal);
      a cache drops what lies before.
    - ``value_residual`` mixes the first layer's values into this one's, with trained weights that start at one half.
    """

    decayed_parameters = ()
    cacheable = True

    def __init__(
        self,
        build: BuildContext,
        *,
        scale: bool | Positive | Literal["width"] = True,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        qk_norm: Annotated[ComponentConfig[QKNorm], Slot("qk_norm")] = component("qk_norm", "none"),
        soft_cap: Positive | None = None,
        sinks: bool = False,
        gate: Literal["head", "feature"] | None = None,
        window: Annotated[int, Field(ge=1)] | None = None,
        value_residual: bool = False,
        tied_projections: Literal["query_key", "key_value"] | None = None,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__()
        if tied_projections == "query_key" and build.n_kv_heads != build.n_heads:
            raise ValueError(
                "tied_projections query_key needs as many heads of keys as of queries: set n_kv_heads null"
            )
        self.n_heads, self.n_kv_heads, self.causal = build.n_heads, build.n_kv_heads, build.causal
        self.dropout, self.soft_cap, self.window = dropout, soft_cap, window
        if isinstance(scale, bool):
            self.scale = build.d_head**-0.5 if scale else 1.0
        else:
            self.scale = 1 / build.d_head if scale == "width" else scale
        width, kv_width = build.n_heads * build.d_head, build.n_kv_heads * build.d_head
        query_role: Literal["unscaled_query", "linear"] = "unscaled_query" if self.scale == 1 else "linear"
        self.query = Linear(build.d_model, width, bias, role=query_role)
        self.key = None if tied_projections == "query_key" else nn.Linear(build.d_model, kv_width, bias)
        self.value = None if tied_projections == "key_value" else nn.Linear(build.d_model, kv_width, bias)
        self.out = Linear(width, build.d_model, bias if out_bias is None else out_bias, role="out_projection")
        self.qk_norm = qk_norm.build(build)
        self.sinks = nn.Parameter(torch.zeros(build.n_heads)) if sinks else None
        gates = {None: 0, "head": build.n_heads, "feature": width}[gate]
        self.gate = nn.Linear(build.d_model, gates, bias=False) if gates else None
        self.value_residual, self.is_first = value_residual, build.layer == 0
        self.shares = nn.Parameter(torch.full((2,), 0.5)) if value_residual and not self.is_first else None
        self.backend = build_backend(
            backend,
            {
                "dropout": dropout > 0,
                "grouped_query": build.n_kv_heads != build.n_heads,
                "sinks": sinks,
                "soft_cap": soft_cap is not None,
            },
        )

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.project(x, context)
        q, k = context.rotate(*self.qk_norm(q, k))
        v = self.mix_first_values(v, context)
        if self.window is None:
            k, v = context.extend_cache(self, k, v)
        else:
            context, (k, v) = self.within_window(self.window, context, k, v)
        inputs = AttentionInputs(
            q,
            k,
            v,
            mask=context.mask,
            causal=context.causal,
            unmasked=context.unmasked,
            scale=self.scale,
            bias=context.bias(q, k),
            dropout=self.dropout if self.training else 0.0,
            soft_cap=self.soft_cap,
            sinks=self.sinks,
        )
        return self.out(merge_heads(self.gated(self.backend(inputs), x)))

    def project(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, D) of x (B, L, M); keys and values (B, G, S, D) of x, or of the memory (B, S, M)."""
        q = self.query(x)
        if context.memory is None:
            k, v = self.keys_and_values(x, q if self.key is None else self.key(x))
        else:
            k, v = context.from_memory(
                self, lambda memory: self.keys_and_values(memory, (self.key or self.query)(memory))
            )
        return split_heads(q, self.n_heads), k, v

    def keys_and_values(self, source: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Of a source (B, S, M) and its keys (B, S, G * D), each (B, G, S, D)."""
        v = k if self.value is None else self.value(source)
        return split_heads(k, self.n_kv_heads), split_heads(v, self.n_kv_heads)

    def mix_first_values(self, v: Tensor, context: ForwardContext) -> Tensor:
        """Values (B, G, S, D) mixed with those that the first layer computed from the same tokens.

        Errors: ValueError where the first layer has none.
        """
        if not self.value_residual:
            return v
        name = "first_values" if context.memory is None else "first_memory_values"
        if self.is_first:
            setattr(context.shared, name, v)
            return v
        first: Tensor | None = getattr(context.shared, name)
        if first is None:
            raise ValueError("value_residual needs attention with value_residual in the first layer too")
        assert self.shares is not None
        return self.shares[0] * first + self.shares[1] * v

    def within_window(
        self, window: int, context: ForwardContext, k: Tensor, v: Tensor
    ) -> tuple[ForwardContext, tuple[Tensor, ...]]:
        """The pass in which a query attends to the keys that are near enough; and these keys and values (B, G, S, D).

        On the meta device, where operations are only counted, as many as a query can see. Errors: ValueError in
        cross-attention.
        """
        if context.memory is not None:
            raise ValueError("a window needs distances, and a memory has none: leave it out of cross-attention")
        context, state = context.extend_window(self, window, k, v)
        if k.is_meta:
            seen = min(state[0].size(-2), window if self.causal else 2 * window - 1)
            context, state = (
                context.of_keys(torch.arange(seen, device=k.device)),
                tuple(x[..., :seen, :] for x in state),
            )
        near = distance(context.positions, context.key_positions).abs() < window
        return replace(context, mask=context.mask & near, causal=False, unmasked=False), state

    def gated(self, y: Tensor, x: Tensor) -> Tensor:
        """The heads' output (B, H, L, D) times the gate of the tokens x (B, L, M)."""
        return y if self.gate is None else y * split_heads(self.gate(x), self.n_heads).sigmoid()
