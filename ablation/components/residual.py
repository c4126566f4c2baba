"""Residual: how what a sublayer says joins the stream that carries everything past it.

Shapes: B batch, L tokens, M features of the model.
"""

from torch import Tensor, nn

from ..registry import register
from .shape import Shape


class Residual(nn.Module):
    """Base of the ways to join; each sublayer has one of its own."""

    def __init__(self, shape: Shape):
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y, both (B, L, M) -> the stream."""
        raise NotImplementedError


@register("residual", "plain", source="He et al. 2015, arXiv:1512.03385")
class Plain(Residual):
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y
