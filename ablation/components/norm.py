"""Norm: how the residual stream is kept at scale. Each token is normed alone, so the batch size does not matter.

Shapes: (B, L, M) -> (B, L, M), B batch, L tokens, M features of the model.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from ..registry import register
from .shape import Shape

Epsilon = Annotated[float, Field(gt=0)]


@register("norm", "layer_norm", source="Ba et al. 2016, arXiv:1607.06450")
class LayerNorm(nn.LayerNorm):
    """Zero mean and unit variance over the features, then a trained gain and shift."""

    def __init__(self, shape: Shape, *, eps: Epsilon = 1e-5):
        super().__init__(shape.d_model, eps)


@register("norm", "rms_norm", source="Zhang and Sennrich 2019, arXiv:1910.07467")
class RMSNorm(nn.RMSNorm):
    """Unit root mean square over the features, then a trained gain."""

    def __init__(self, shape: Shape, *, eps: Epsilon = 1e-6):
        super().__init__(shape.d_model, eps)


@register("norm", "none", source="Zhang et al. 2019, arXiv:1901.09321")
class NoNorm(nn.Identity):
    """The features as they are."""

    def __init__(self, shape: Shape):
        super().__init__()
