"""LM head: the last vectors to logits over the vocabulary.

Shapes: B batch, L tokens, V vocabulary, M features of the model. ``weight`` (V, M) is the embedding's table where the
two are tied, else a separate one.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext


class LMHead(nn.Module):
    """Base of the heads."""

    def __init__(self, build: BuildContext, vocabulary: int):
        super().__init__()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B, L, M) and the table (V, M) -> (B, L, V)."""
        raise NotImplementedError


@register("lm_head", "linear", source="Press and Wolf 2016, arXiv:1608.05859")
class LinearHead(LMHead):
    """E x: the dot product with each row of the table. ``scale`` multiplies x first: T5 has 1 / sqrt(M) where tied."""

    def __init__(self, build: BuildContext, vocabulary: int, *, scale: Annotated[float, Field(gt=0)] | None = None):
        super().__init__(build, vocabulary)
        self.scale = scale

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x if self.scale is None else x * self.scale, weight)


@register("lm_head", "transform", source="Devlin et al. 2018, arXiv:1810.04805")
class TransformHead(LMHead):
    """E norm(gelu(W x + a)) + b: one more layer before the table, as in BERT's masked language model."""

    decayed_parameters = ()

    def __init__(self, build: BuildContext, vocabulary: int, *, eps: Annotated[float, Field(gt=0)] = 1e-5):
        super().__init__(build, vocabulary)
        self.dense = nn.Linear(build.d_model, build.d_model)
        self.norm = nn.LayerNorm(build.d_model, eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(x))), weight, self.bias)


@register("lm_head", "soft_capped", source="Gemma Team 2024, arXiv:2408.00118")
class SoftCappedHead(LMHead):
    """c tanh(E x / c): all logits lie in (-c, c)."""

    def __init__(self, build: BuildContext, vocabulary: int, *, cap: Annotated[float, Field(gt=0)] = 30.0):
        super().__init__(build, vocabulary)
        self.cap = cap

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.cap * (F.linear(x, weight) / self.cap).tanh()
