"""Backend: who computes softmax(q k^T) v. All give the same numbers; ``manual`` is the truth.

Shapes: B batch, H heads of queries, G heads of keys and values, L queries, S keys, D features of a head, E of a value.
"""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, multi_head_attention_forward, scaled_dot_product_attention

from ..registry import REGISTRY, ComponentConfig, register
from .context import ForwardContext

Feature = Literal["bias", "dropout", "grouped_query", "soft_cap", "sinks", "value_dim"]
"""What not every backend can do. ``grouped_query``: H > G; ``value_dim``: E other than D. Masks are carried by all."""


class AttentionBackend(nn.Module):
    """Base of the backends. A query that may look at nothing gets zeros."""

    supports: ClassVar[frozenset[Feature]]

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        context: ForwardContext,
        scale: float,
        p: float,
        soft_cap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Queries (B, H, L, D), keys (B, G, S, D), values (B, G, S, E) -> (B, H, L, E).

        The scores are ``scale`` q k^T, kept within -``soft_cap`` and ``soft_cap``; then ``bias`` (B or 1, H, L, S) is
        added. ``sinks`` (H,) is the score of a key that every query sees and whose value is 0. ``p`` is the dropout on
        the attention weights.
        """
        raise NotImplementedError


def build_backend(config: ComponentConfig[Any], wanted: dict[Feature, bool]) -> Any:
    """The backend, once it is known to carry the features that are wanted.

    Errors: ValueError that names the feature and the backends that carry it.
    """
    for feature in (feature for feature, on in wanted.items() if on):
        if feature not in config.component.supports:
            able = [
                name for name, member in REGISTRY["attention_backend"].items() if feature in member.component.supports
            ]
            raise ValueError(f"backend {config.name!r} does not carry {feature}: choose {' or '.join(able)}")
    return config.build()


@register("attention_backend", "manual", source="Vaswani et al. 2017, arXiv:1706.03762")
class ManualBackend(AttentionBackend):
    """The formula, written out: every score is held in memory."""

    supports = frozenset({"bias", "dropout", "grouped_query", "soft_cap", "sinks", "value_dim"})

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        context: ForwardContext,
        scale: float,
        p: float,
        soft_cap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        k, v = (x.repeat_interleave(q.size(1) // x.size(1), dim=1) for x in (k, v))
        scores = q @ k.mT * scale
        if soft_cap is not None:
            scores = soft_cap * (scores / soft_cap).tanh()
        if bias is not None:
            scores = scores + bias
        return dropout(masked_softmax(scores, context.mask, sinks), p) @ v


def masked_softmax(scores: Tensor, mask: Tensor, sinks: Tensor | None = None) -> Tensor:
    """Scores (B, H, L, S) and what may be looked at -> weights; they leave to the sinks (H,) what is theirs."""
    # A finite floor, then zeros: a row of nothing but -inf would be nan, forward and backward.
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    if sinks is None:
        return scores.softmax(-1).masked_fill(~mask, 0.0)
    sink = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1].masked_fill(~mask, 0.0)


class MaskedSoftmax(nn.Module):
    """The same, for a mixer that needs the weights themselves: a module, so that its scores can be observed."""

    def forward(self, scores: Tensor, mask: Tensor, sinks: Tensor | None = None) -> Tensor:
        return masked_softmax(scores, mask, sinks)


@register("attention_backend", "sdpa", source="Dao et al. 2022, arXiv:2205.14135")
class SDPABackend(AttentionBackend):
    """torch's scaled_dot_product_attention, which picks the fastest kernel that fits."""

    supports = frozenset({"bias", "dropout", "grouped_query", "value_dim"})

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        context: ForwardContext,
        scale: float,
        p: float,
        soft_cap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        assert soft_cap is None and sinks is None
        grouped = q.size(1) != k.size(1)
        if bias is None and context.causal:
            return scaled_dot_product_attention(q, k, v, None, p, is_causal=True, scale=scale, enable_gqa=grouped)
        mask = context.mask if bias is None else bias.to(q.dtype).masked_fill(~context.mask, float("-inf"))
        return scaled_dot_product_attention(q, k, v, mask, p, scale=scale, enable_gqa=grouped)


@register("attention_backend", "flex", source="Dong et al. 2024, arXiv:2412.05496")
class FlexBackend(AttentionBackend):
    """torch's flex_attention: one fused kernel that knows the soft cap. It trains on a GPU only.

    On a CPU it computes without gradients, slowly and unfused; a pass that needs them is refused.
    """

    supports = frozenset({"bias", "grouped_query", "soft_cap", "value_dim"})

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        context: ForwardContext,
        scale: float,
        p: float,
        soft_cap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        assert not p and sinks is None
        if q.is_meta:  # torch's knows no such device: costs are counted as the formula's
            return ManualBackend().forward(q, k, v, bias, context, scale, p, soft_cap)
        on_cpu = q.device.type == "cpu"
        if on_cpu and any(x is not None and x.requires_grad for x in (q, k, v, bias)):
            raise ValueError("backend 'flex' cannot train on a CPU: choose sdpa or manual, or train on a GPU")
        from torch.nn.attention.flex_attention import create_block_mask

        shape = (q.size(0), q.size(1), q.size(2), k.size(2))
        seen = context.mask.expand(shape[0], 1, *shape[2:])

        def may_look(text: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return seen[text, 0, query, key]

        added = None if bias is None else bias.to(q.dtype).expand(shape)

        def score(score: Tensor, text: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            if soft_cap is not None:
                score = soft_cap * (score / soft_cap).tanh()
            return score if added is None else score + added[text, head, query, key]

        blocks = create_block_mask(may_look, shape[0], None, shape[2], shape[3], device=str(q.device))
        grouped = q.size(1) != k.size(1)
        v = v.to(q.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flex_attention called without torch.compile", UserWarning)
            y: Tensor = self.kernel(on_cpu)(q, k, v, score, blocks, scale, grouped)
        return y.masked_fill(~seen.any(-1, keepdim=True), 0.0)

    compiled: ClassVar[Callable[..., Any] | None] = None

    @classmethod
    def kernel(cls, on_cpu: bool) -> Callable[..., Any]:
        """Unfused on a CPU, where compiling needs a compiler; elsewhere compiled once for all layers."""
        from torch.nn.attention.flex_attention import flex_attention

        if on_cpu:
            return flex_attention
        if cls.compiled is None:
            cls.compiled = staticmethod(torch.compile(flex_attention))
        return cls.compiled


@register("attention_backend", "torch_mha", source="Paszke et al. 2019, arXiv:1912.01703")
class TorchMHABackend(AttentionBackend):
    """torch.nn.MultiheadAttention's own computation between identity maps: for checking, not for speed."""

    supports = frozenset({"bias", "dropout", "grouped_query"})

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        context: ForwardContext,
        scale: float,
        p: float,
        soft_cap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        assert soft_cap is None and sinks is None
        n_texts, n_heads, n_queries, d_head = q.shape
        k, v = (x.repeat_interleave(n_heads // x.size(1), dim=1) for x in (k, v))
        width, n_keys = n_heads * d_head, k.size(2)
        mask = context.mask.expand(n_texts, n_heads, n_queries, n_keys)
        blind = ~mask.any(-1, keepdim=True)  # would be nan: let them see, then take it away
        added = q.new_zeros(()) if bias is None else bias.to(q.dtype)
        added = added.expand(mask.shape).masked_fill(~(mask | blind), float("-inf")).flatten(0, 1)
        identity = torch.eye(width, dtype=q.dtype, device=q.device)
        tokens_first = [x.permute(2, 0, 1, 3).flatten(2) for x in (q * (scale * d_head**0.5), k, v)]
        y, _ = multi_head_attention_forward(
            query=tokens_first[0],
            key=tokens_first[1],
            value=tokens_first[2],
            embed_dim_to_check=width,
            num_heads=n_heads,
            in_proj_weight=None,
            in_proj_bias=None,
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=p,
            out_proj_weight=identity,
            out_proj_bias=None,
            training=p > 0,
            attn_mask=added,
            use_separate_proj_weight=True,
            q_proj_weight=identity,
            k_proj_weight=identity,
            v_proj_weight=identity,
        )
        y = y.view(n_queries, n_texts, n_heads, d_head).permute(1, 2, 0, 3)
        return y.masked_fill(blind, 0.0)
