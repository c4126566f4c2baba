"""Pooling: the vectors of a sequence to one vector, which is classified.

Shapes: B batch, L tokens, M features of the model; padding (B, L) is True where there is a token.
"""

import torch
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext


class Pooling(nn.Module):
    """Base of the poolings."""

    def __init__(self, build: BuildContext):
        super().__init__()

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """(B, L, M) -> (B, M)."""
        raise NotImplementedError


@register("pooling", "mean", source="Reimers and Gurevych 2019, arXiv:1908.10084")
class Mean(Pooling):
    """The mean over all tokens."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        weight = padding.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1)


@register("pooling", "first", source="Devlin et al. 2018, arXiv:1810.04805")
class First(Pooling):
    """The first token, which attends to all others."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return x[torch.arange(len(x), device=x.device), padding.int().argmax(1)]


@register("pooling", "last", source="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training")
class Last(Pooling):
    """The last token, the only one of a causal model that attends to all others."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        last = padding.size(1) - 1 - padding.flip(1).int().argmax(1)
        return x[torch.arange(len(x), device=x.device), last]


@register("pooling", "max", source="Conneau et al. 2017, arXiv:1705.02364")
class Max(Pooling):
    """The largest value of each feature over all tokens."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return x.masked_fill(~padding.unsqueeze(-1), float("-inf")).amax(1)
