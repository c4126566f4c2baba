"""Residuals of one stream.

Shapes: B batch, L tokens, M features of the model.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..shape import Shape
from .contract import Residual


@register("residual", "plain", source="He et al. 2015, arXiv:1512.03385")
class Plain(Residual):
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@register("residual", "scaled", source="Szegedy et al. 2016, arXiv:1602.07261")
class Scaled(Residual):
    """x + alpha y: a fixed share of what the sublayer says, 0.1 to 0.3 in Inception, 0.22 in Granite."""

    def __init__(self, shape: Shape, *, alpha: Annotated[float, Field(gt=0)] = 0.2):
        super().__init__(shape)
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.alpha * y


@register("residual", "rezero", source="Bachlechner et al. 2020, arXiv:2003.04887")
class ReZero(Residual):
    """x + a y: one trained number per sublayer, which starts at ``start``: at 0 the model starts as the identity.

    From 0 the sublayers get no gradient in the first step, only ``a`` does. Meant to do without norms.
    """

    def __init__(self, shape: Shape, *, start: float = 0.0):
        super().__init__(shape)
        self.share = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y


@register("residual", "layer_scale", source="Touvron et al. 2021, arXiv:2103.17239")
class LayerScale(Residual):
    """x + a * y: one trained number per feature and sublayer, which starts at ``start``."""

    def __init__(self, shape: Shape, *, start: float = 1e-5):
        super().__init__(shape)
        self.share = nn.Parameter(torch.full((shape.d_model,), start))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y
