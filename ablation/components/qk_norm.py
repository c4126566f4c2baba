"""QK norm: normalizes queries and keys, before positions are applied.

Shapes: B batch, H heads of queries, G heads of keys, L queries, S keys, D features of a head.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext
from .mixer.base import merge_heads, split_heads

Epsilon = Annotated[float, Field(gt=0)]


@register("qk_norm", "none", source="Vaswani et al. 2017, arXiv:1706.03762")
class QKNorm(nn.Module):
    """q, k: no normalization."""

    def __init__(self, build: BuildContext):
        super().__init__()

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, H, L, D) and keys (B, G, S, D) -> the same, normalized."""
        return q, k


class RMS(nn.RMSNorm):
    """Unit root mean square over the last axis, then a trained gain, in the precision of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


@register("qk_norm", "rms", source="Dehghani et al. 2023, arXiv:2302.05442; as in Qwen3: arXiv:2505.09388")
class RMSPerHead(QKNorm):
    """Unit root mean square over the features of each head, then a trained gain that all heads share, as in Qwen3."""

    def __init__(self, build: BuildContext, *, eps: Epsilon = 1e-6):
        super().__init__(build)
        self.query, self.key = RMS(build.d_head, eps), RMS(build.d_head, eps)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(q), self.key(k)


@register("qk_norm", "rms_full", source="OLMo team 2024, arXiv:2501.00656")
class RMSFullWidth(QKNorm):
    """Unit root mean square over the features of all heads at once, then a trained gain for each, as in OLMo 2."""

    def __init__(self, build: BuildContext, *, eps: Epsilon = 1e-6):
        super().__init__(build)
        self.query, self.key = RMS(build.n_heads * build.d_head, eps), RMS(build.n_kv_heads * build.d_head, eps)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        q_full, k_full = self.query(merge_heads(q)), self.key(merge_heads(k))
        return split_heads(q_full, q.size(1)), split_heads(k_full, k.size(1))


@register("qk_norm", "l2", source="Henry et al. 2020, arXiv:2010.04245")
class UnitLength(QKNorm):
    """sqrt(D) g q / |q| and k / |k|: with the default scale, the scores are g cos(q, k).

    g is one trained number per layer, initialized to log2(n^2 - n) for a model built for up to n tokens.
    """

    decayed_parameters = ()

    def __init__(self, build: BuildContext):
        super().__init__(build)
        n = max(build.max_length, 2)
        self.root = math.sqrt(build.d_head)
        self.gain = nn.Parameter(torch.tensor(math.log2(n * n - n)))

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(q, dim=-1) * (self.root * self.gain).to(q.dtype), F.normalize(k, dim=-1)
