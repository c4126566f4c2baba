"""Backend: who computes softmax(q k^T) v. All give the same numbers; ``manual`` is the truth.

Shapes: B batch, H heads of queries, G heads of keys and values, L queries, S keys, D features of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from ..registry import register
from .context import Context


class Backend(nn.Module):
    """Base of the backends. A query that may look at nothing gets zeros."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, context: Context, scale: float, p: float
    ) -> Tensor:
        """Queries (B, H, L, D), keys and values (B, G, S, D) -> (B, H, L, D).

        ``bias`` (B or 1, H, L, S) is added to the scaled scores; ``p`` is the dropout on the attention weights.
        """
        raise NotImplementedError


@register("backend", "manual", source="Vaswani et al. 2017, arXiv:1706.03762")
class Manual(Backend):
    """The formula, written out: every score is held in memory."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, context: Context, scale: float, p: float
    ) -> Tensor:
        k, v = (x.repeat_interleave(q.size(1) // x.size(1), dim=1) for x in (k, v))
        scores = q @ k.mT * scale
        if bias is not None:
            scores = scores + bias
        hidden = ~context.mask
        # A finite floor, then zeros: a row of nothing but -inf would be nan, forward and backward.
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(hidden, 0.0)
        return dropout(weights, p) @ v


@register("backend", "sdpa", source="Dao et al. 2022, arXiv:2205.14135")
class Sdpa(Backend):
    """torch's scaled_dot_product_attention, which picks the fastest kernel that fits."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, context: Context, scale: float, p: float
    ) -> Tensor:
        grouped = q.size(1) != k.size(1)
        if bias is None and context.causal:
            return scaled_dot_product_attention(q, k, v, None, p, is_causal=True, scale=scale, enable_gqa=grouped)
        mask = context.mask if bias is None else bias.to(q.dtype).masked_fill(~context.mask, float("-inf"))
        return scaled_dot_product_attention(q, k, v, mask, p, scale=scale, enable_gqa=grouped)
