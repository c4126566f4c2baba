"""Mixer: what tokens learn from each other.

Shapes: B batch, L tokens, M features of the model.
"""

from typing import ClassVar

from torch import Tensor, nn

from ..context import Context


class Mixer(nn.Module):
    """Base of what mixes along the sequence."""

    cacheable: ClassVar[bool] = False
    """Whether it can go on from a ``Cache`` one token at a time."""
    hooks: ClassVar[tuple[str, ...]] = ("embed", "rotate", "bias")
    """The hooks of a position that reach it; none where it places tokens itself."""
    hears_heads: ClassVar[bool] = True
    """Whether the number of heads changes anything; a grid of what it does not hear is refused."""
    crosses: ClassVar[bool] = True
    """Whether it can take its keys and values from a memory."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError
