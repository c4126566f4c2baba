"""Embedding: token ids to vectors, to which absolute positions are added.

Shapes: B batch, L tokens, V vocabulary, M features of the model.
"""

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext
from .position.base import Position


@register("embedding", "plain", source="Bengio et al. 2003, A Neural Probabilistic Language Model")
class Embedding(nn.Module):
    """position(E[token]): a row of the table, then the position."""

    def __init__(self, build: BuildContext, vocabulary: int):
        super().__init__()
        self.table = nn.Embedding(vocabulary, build.d_model)

    def forward(self, tokens: Tensor, position: Position, positions: Tensor) -> Tensor:
        """(B, L) -> (B, L, M)."""
        return position.embed(self.table(tokens), positions)


@register("embedding", "scaled", source="Vaswani et al. 2017, arXiv:1706.03762")
class ScaledEmbedding(Embedding):
    """position(sqrt(M) E[token]): small initial weights scaled up to the size of the residual stream, as in Gemma."""

    def __init__(self, build: BuildContext, vocabulary: int):
        super().__init__(build, vocabulary)
        self.scale = math.sqrt(build.d_model)

    def forward(self, tokens: Tensor, position: Position, positions: Tensor) -> Tensor:
        return position.embed(self.table(tokens) * self.scale, positions)


@register("embedding", "normed", source="Devlin et al. 2018, arXiv:1810.04805")
class NormalizedEmbedding(Embedding):
    """norm(position(E[token])): a LayerNorm before the first block, as in BERT and BLOOM."""

    def __init__(self, build: BuildContext, vocabulary: int, *, eps: Annotated[float, Field(gt=0)] = 1e-5):
        super().__init__(build, vocabulary)
        self.norm = nn.LayerNorm(build.d_model, eps)

    def forward(self, tokens: Tensor, position: Position, positions: Tensor) -> Tensor:
        return self.norm(position.embed(self.table(tokens), positions))
