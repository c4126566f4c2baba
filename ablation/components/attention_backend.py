"""Attention backend: who computes softmax(q k^T) v. All give the same numbers; ``manual`` is the reference.

Shapes: B batch, H heads of queries, G heads of keys and values, L queries, S keys, D features of a head, E of a value.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, multi_head_attention_forward, scaled_dot_product_attention

from ..registry import REGISTRY, ComponentConfig, register
from .base import full_precision, upcast


@dataclass(frozen=True)
class QueryBlock:
    """The queries from ``first`` to ``last``, and the first ``n_keys`` keys: part of the scores."""

    first: int
    last: int
    n_keys: int

    @property
    def n_queries(self) -> int:
        return self.last - self.first


BiasOf = Callable[[Sequence[QueryBlock]], Iterable[Tensor]]
"""The biases of blocks that are all queries together, each (B or 1, H, queries, keys) of its block."""
ValuesOf = Callable[[Tensor, QueryBlock], Tensor]
"""What the weights (B, H, queries, keys) of a block add to its output, (B, H, queries, E)."""
ROWS = 64
"""Queries of a block on a CPU: their scores stay in its cache, and less of what is masked is computed."""
Feature = Literal["bias", "dropout", "grouped_query", "soft_cap", "sinks", "value_dim"]
"""What not every backend supports. ``grouped_query``: H > G; ``value_dim``: E other than D. All support masks."""


@dataclass(frozen=True)
class AttentionInputs:
    """What a mixer hands to its backend. Scores are ``scale`` q k^T, then soft-capped, then the bias is added."""

    q: Tensor
    """(B, H, L, D)."""
    k: Tensor
    """(B, G, S, D)."""
    v: Tensor
    """(B, G, S, E)."""
    mask: Tensor
    """(B or 1, 1, L, S), True where a query may attend to a key."""
    scale: float
    bias: Tensor | None = None
    """(B or 1, H, L, S)."""
    causal: bool = False
    """Whether the mask is the plain triangle over one whole sequence."""
    unmasked: bool = field(default=False, kw_only=True)
    """Whether the mask is True everywhere."""
    dropout: float = 0.0
    """Of the attention weights, in this pass."""
    bias_of: BiasOf | None = field(default=None, kw_only=True)
    """In place of ``bias``, for one that is large: a backend may ask for some queries at a time."""
    values_of: ValuesOf | None = field(default=None, kw_only=True)
    """For values that depend on the query; only ``sdpa`` takes it."""
    soft_cap: float | None = None
    """Scores s become cap tanh(s / cap)."""
    sinks: Tensor | None = None
    """(H,), the score of a key that every query attends to and whose value is 0."""

    @property
    def whole_bias(self) -> Tensor | None:
        """That of all queries on all keys, (B or 1, H, L, S)."""
        if self.bias_of is None:
            return self.bias
        (whole,) = self.bias_of([QueryBlock(0, self.q.size(-2), self.k.size(-2))])
        return whole

    def blocks(self, n_rows: int) -> list[QueryBlock]:
        """Blocks of ``n_rows`` queries, where the mask is the triangle with only the keys that it leaves."""
        n_queries, n_keys = self.q.size(-2), self.k.size(-2)
        ends = [(first, min(first + n_rows, n_queries)) for first in range(0, n_queries, n_rows)]
        return [QueryBlock(first, last, last if self.causal else n_keys) for first, last in ends]


class AttentionBackend(nn.Module):
    """Base of the backends. A query that may attend to no key gets zeros."""

    supports: ClassVar[frozenset[Feature]]
    trains_on_cpu: ClassVar[bool] = True
    """Runs with a component of the model, of whatever slot, that says False are refused where there is no GPU."""

    def forward(self, inputs: AttentionInputs) -> Tensor:
        """-> (B, H, L, E)."""
        raise NotImplementedError


def build_backend(config: ComponentConfig[AttentionBackend], features: Mapping[Feature, bool]) -> AttentionBackend:
    """The backend, if it supports all ``features`` that are on.

    Errors: ValueError that names the feature and the backends that support it.
    """
    for feature in (feature for feature, is_on in features.items() if is_on):
        if feature not in config.component.supports:
            members = REGISTRY["attention_backend"].items()
            allowed = [name for name, member in members if feature in member.component.supports]
            raise ValueError(f"backend {config.name!r} does not support {feature}: choose {' or '.join(allowed)}")
    return config.build()


@register("attention_backend", "manual", source="Vaswani et al. 2017, arXiv:1706.03762")
class ManualBackend(AttentionBackend):
    """The formula, written out: every score is held in memory."""

    supports = frozenset({"bias", "dropout", "grouped_query", "soft_cap", "sinks", "value_dim"})

    def forward(self, inputs: AttentionInputs) -> Tensor:
        v = inputs.v.repeat_interleave(inputs.q.size(1) // inputs.v.size(1), dim=1)
        weights = masked_softmax(attention_scores(inputs), inputs.mask, inputs.sinks)
        assert inputs.values_of is None
        return dropout(weights, inputs.dropout) @ v


def attention_scores(inputs: AttentionInputs) -> Tensor:
    """Scores (B, H, L, S) before the mask: scaled, capped and with the bias."""
    k = inputs.k.repeat_interleave(inputs.q.size(1) // inputs.k.size(1), dim=1)
    scores = inputs.q @ k.mT * inputs.scale
    if inputs.soft_cap is not None:
        scores = inputs.soft_cap * (scores / inputs.soft_cap).tanh()
    bias = inputs.whole_bias
    return scores if bias is None else scores + bias


def masked_softmax(scores: Tensor, mask: Tensor, sinks: Tensor | None = None) -> Tensor:
    """Scores (B, H, L, S) and their mask -> weights, which sum to 1 together with those of the sinks (H,)."""
    # A finite floor, then zeros: a row of nothing but -inf would be nan, forward and backward.
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    if sinks is None:
        return scores.softmax(-1).masked_fill(~mask, 0.0)
    sink = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1].masked_fill(~mask, 0.0)


def attend_in_blocks(inputs: AttentionInputs, n_rows: int) -> Tensor:
    """The formula for ``n_rows`` queries at a time, in float32 at least: (B, H, L, E)."""
    repeats = inputs.q.size(1) // inputs.k.size(1)
    k, v = (x.repeat_interleave(repeats, dim=1) for x in (inputs.k, inputs.v))
    q, k, v = upcast(inputs.q, k, v)
    q = inputs.scale * q
    masks = inputs.mask.expand(-1, -1, q.size(-2), -1)
    no_key = None if inputs.causal or inputs.unmasked else ~masks.any(-1, keepdim=True)
    outputs, blocks = [], inputs.blocks(n_rows)
    for block, queries, bias in zip(blocks, rows_of(q, blocks), biases_of(inputs, blocks), strict=True):
        rows, columns = slice(block.first, block.last), slice(block.n_keys)
        with full_precision(q):
            scores = queries @ k[..., columns, :].mT
            if bias is not None:
                scores += bias
            if not inputs.unmasked:  # to add is faster than to fill
                mask = masks[..., rows, columns] if no_key is None else masks[..., rows, columns] | no_key[..., rows, :]
                scores += torch.where(mask, 0.0, float("-inf"))
            weights = dropout(scores.softmax(-1), inputs.dropout)
            y = weights @ v[..., columns, :]
        outputs.append(y if inputs.values_of is None else y + inputs.values_of(weights, block))
    y = torch.cat(outputs, -2).to(inputs.v.dtype)
    return y if no_key is None else y.masked_fill(no_key, 0.0)


def biases_of(inputs: AttentionInputs, blocks: Sequence[QueryBlock]) -> Iterable[Tensor | None]:
    """The bias of each block, (B or 1, H, queries, keys); None where there is none."""
    if inputs.bias_of is not None:
        return inputs.bias_of(blocks)
    if inputs.bias is None:
        return [None] * len(blocks)
    return split_into(inputs.bias.to(inputs.q.dtype).expand(-1, -1, inputs.q.size(-2), -1), blocks)


def split_into(bias: Tensor, blocks: Sequence[QueryBlock]) -> list[Tensor]:
    """Of a whole bias the parts of ``blocks``."""
    return [rows[..., : block.n_keys] for rows, block in zip(rows_of(bias, blocks), blocks, strict=True)]


def rows_of(x: Tensor, blocks: Sequence[QueryBlock]) -> Sequence[Tensor]:
    """x (..., L, N), a row for each query, in parts of ``blocks``: slices would have gradients as large as x each."""
    return torch.split(x, [block.n_queries for block in blocks], -2)


@register("attention_backend", "sdpa", source="Dao et al. 2022, arXiv:2205.14135")
class SDPABackend(AttentionBackend):
    """torch's scaled_dot_product_attention, which picks the fastest kernel that fits.

    On a CPU no fused kernel has dropout, or a gradient of the bias: there the formula is computed for some queries at a
    time, as it is for mixers that compute their bias, or add to the values, by distance.
    """

    supports = frozenset({"bias", "dropout", "grouped_query", "value_dim"})

    def forward(self, inputs: AttentionInputs) -> Tensor:
        q, k, v, p, scale = inputs.q, inputs.k, inputs.v, inputs.dropout, inputs.scale
        assert inputs.soft_cap is None and inputs.sinks is None
        on_cpu, trained_bias = q.device.type == "cpu", inputs.bias is not None and inputs.bias.requires_grad
        large_bias = inputs.bias_of is not None and q.size(-2) > 1  # of one query a token of decoding would take longer
        if inputs.values_of is not None or (on_cpu and (p or trained_bias or large_bias)):
            return attend_in_blocks(inputs, ROWS if on_cpu else q.size(-2))  # torch has no fused kernel for these
        bias = inputs.whole_bias
        grouped = q.size(1) != k.size(1)
        if bias is None and inputs.causal:
            return scaled_dot_product_attention(q, k, v, None, p, is_causal=True, scale=scale, enable_gqa=grouped)
        mask: Tensor | None
        if bias is not None:
            mask = bias.to(q.dtype) if inputs.unmasked else bias.to(q.dtype).masked_fill(~inputs.mask, float("-inf"))
        else:
            mask = None if inputs.unmasked else inputs.mask
        return scaled_dot_product_attention(q, k, v, mask, p, scale=scale, enable_gqa=grouped)


@register("attention_backend", "flex", source="Dong et al. 2024, arXiv:2412.05496")
class FlexBackend(AttentionBackend):
    """torch's flex_attention: one fused kernel that supports the soft cap. It trains on a GPU only.

    On a CPU it computes without gradients, slowly and unfused; a pass that needs them is an error.
    """

    supports = frozenset({"bias", "grouped_query", "soft_cap", "value_dim"})
    trains_on_cpu = False

    def forward(self, inputs: AttentionInputs) -> Tensor:
        """Queries (B, H, L, D) and their keys and values -> (B, H, L, D). Errors: ValueError in training on a CPU."""
        q, k, soft_cap = inputs.q, inputs.k, inputs.soft_cap
        assert not inputs.dropout and inputs.sinks is None and inputs.values_of is None
        if q.is_meta:  # flex_attention does not run on the meta device: count the cost of the formula
            return ManualBackend().forward(inputs)
        bias = inputs.whole_bias
        on_cpu = q.device.type == "cpu"
        if on_cpu and any(x is not None and x.requires_grad for x in (q, k, inputs.v, bias)):
            raise ValueError("backend 'flex' cannot train on a CPU: choose sdpa or manual, or train on a GPU")
        from torch.nn.attention.flex_attention import create_block_mask

        shape = (q.size(0), q.size(1), q.size(2), k.size(2))
        mask = inputs.mask.expand(shape[0], 1, *shape[2:])
        expanded_bias = None if bias is None else bias.to(q.dtype).expand(shape)

        def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return mask[batch, 0, query, key]

        def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            if soft_cap is not None:
                score = soft_cap * (score / soft_cap).tanh()
            return score if expanded_bias is None else score + expanded_bias[batch, head, query, key]

        blocks = create_block_mask(mask_mod, shape[0], None, shape[2], shape[3], device=str(q.device))
        grouped = q.size(1) != k.size(1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flex_attention called without torch.compile", UserWarning)
            y: Tensor = self.kernel(on_cpu)(q, k, inputs.v.to(q.dtype), score_mod, blocks, inputs.scale, grouped)
        return y.masked_fill(~mask.any(-1, keepdim=True), 0.0)

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

    def forward(self, inputs: AttentionInputs) -> Tensor:
        q, bias, p = inputs.q, inputs.whole_bias, inputs.dropout
        assert inputs.soft_cap is None and inputs.sinks is None and inputs.values_of is None
        n_batch, n_heads, n_queries, d_head = q.shape
        k, v = (x.repeat_interleave(n_heads // x.size(1), dim=1) for x in (inputs.k, inputs.v))
        width, n_keys = n_heads * d_head, k.size(2)
        mask = inputs.mask.expand(n_batch, n_heads, n_queries, n_keys)
        no_key = ~mask.any(-1, keepdim=True)  # would be nan: attends to all keys, and is zeroed afterwards
        scores = q.new_zeros(()) if bias is None else bias.to(q.dtype)
        scores = scores.expand(mask.shape).masked_fill(~(mask | no_key), float("-inf")).flatten(0, 1)
        identity = torch.eye(width, dtype=q.dtype, device=q.device)
        sequence_first = [x.permute(2, 0, 1, 3).flatten(2) for x in (q * (inputs.scale * d_head**0.5), k, v)]
        y, _ = multi_head_attention_forward(
            query=sequence_first[0],
            key=sequence_first[1],
            value=sequence_first[2],
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
            attn_mask=scores,
            use_separate_proj_weight=True,
            q_proj_weight=identity,
            k_proj_weight=identity,
            v_proj_weight=identity,
        )
        y = y.view(n_queries, n_batch, n_heads, d_head).permute(1, 2, 0, 3)
        return y.masked_fill(no_key, 0.0)
