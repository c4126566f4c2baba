"""What the rivals of attention have in common, and how they pass over padding.

Shapes: B batch, L tokens, H heads, D features of a head, F any features.
"""

from typing import ClassVar

from torch import Tensor

from ..context import Context
from ..shape import Shape
from .contract import Mixer


class Rival(Mixer):
    """Base of what hands the past on in a state, instead of looking back at every token of it.

    Order is felt without positions. Those that are added to the embeddings reach it; those that turn queries and keys
    or add to scores find nothing to act on here, as ``hooks`` says.
    """

    cacheable = True
    hooks = ("embed",)
    crosses = False
    both_ways: ClassVar[bool] = False
    """Whether there is a form of it in which tokens learn from later ones."""

    def __init__(self, shape: Shape):
        super().__init__()
        name = type(self).__name__
        if not shape.causal and not self.both_ways:
            raise ValueError(f"{name} reads from left to right: it serves a decoder, no encoder and no cross-attention")
        if shape.n_kv_heads != shape.n_heads:
            raise ValueError(
                f"{name} has no grouped heads: n_kv_heads {shape.n_kv_heads} must be n_heads {shape.n_heads}, or null"
            )

    def state(self, context: Context) -> tuple[Tensor, ...] | None:
        """What it kept of the tokens before these, None at the start of a text."""
        return None if context.cache is None else context.cache.state(self)

    def keep(self, context: Context, *state: Tensor) -> None:
        """Keep this for the tokens to come, if there are any."""
        if context.cache is not None:
            context.cache.keep(self, *state)


def blank(x: Tensor, padding: Tensor | None) -> Tensor:
    """(B, L, F) with zeros where there is no token."""
    return x if padding is None else x.masked_fill(~padding.unsqueeze(-1), 0.0)


def tokens_first(padding: Tensor) -> Tensor:
    """The order of places (B, L) in which all tokens come before all padding; its ``argsort`` is the way back."""
    return (~padding).int().argsort(dim=-1, stable=True)


def take(x: Tensor, places: Tensor) -> Tensor:
    """(B, L, F) and places (B, K) -> what stands there, (B, K, F)."""
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.size(-1)))


def heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, L, H * D) -> (B, H, L, D)."""
    return x.view(*x.shape[:-1], n_heads, -1).transpose(1, 2)
