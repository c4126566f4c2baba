"""Residual: how what a sublayer says joins the stream that carries everything past it.

Shapes: B batch, L tokens, M features of the model; N streams, where there are several: (B, L, N, M).
"""

from torch import Tensor, nn

from ..shape import Shape


class Residual(nn.Module):
    """Base of the ways to join; each sublayer has one of its own. It carries one stream, (B, L, M), as it comes."""

    def __init__(self, shape: Shape):
        super().__init__()

    def open(self, x: Tensor) -> Tensor:
        """What goes into the first block, (B, L, M) -> the stream. Asked once, of the first sublayer's residual."""
        return x

    def read(self, x: Tensor) -> Tensor:
        """The stream -> what the sublayer is given, (B, L, M)."""
        return x

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y (B, L, M) -> the stream."""
        raise NotImplementedError

    def close(self, x: Tensor) -> Tensor:
        """The stream -> what comes out of the last block, (B, L, M). Asked once, of the last sublayer's residual."""
        return x
