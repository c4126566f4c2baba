"""Mixer: what tokens learn from each other.

Shapes: B batch, L tokens, M features of the model.
"""

# DOC-TO-MERGE: 'What the rivals of attention have in common, and how they pass over padding.\n\nShapes: B batch, L tokens, H heads, D features of a head, F any features.\n'

from typing import ClassVar

from torch import Tensor, nn

from ..base import BuildContext
from ..context import ForwardContext


class Mixer(nn.Module):
    """Base of what mixes along the sequence."""

    cacheable: ClassVar[bool] = False
    """Whether it can go on from a ``Cache`` one token at a time."""
    position_hooks: ClassVar[tuple[str, ...]] = ("embed", "rotate", "bias")
    """The hooks of a position that reach it; none where it places tokens itself."""
    uses_heads: ClassVar[bool] = True
    """Whether the number of heads changes anything; a grid of what it does not hear is refused."""
    supports_cross_attention: ClassVar[bool] = True
    """Whether it can take its keys and values from a memory."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError


class RecurrentMixer(Mixer):
    """Base of what hands the past on in a state, instead of looking back at every token of it.

    Order is felt without positions. Those that are added to the embeddings reach it; those that turn queries and keys
    or add to scores find nothing to act on here, as ``position_hooks`` says.
    """

    cacheable = True
    position_hooks = ("embed",)
    supports_cross_attention = False
    bidirectional: ClassVar[bool] = False
    """Whether there is a form of it in which tokens learn from later ones."""

    def __init__(self, shape: BuildContext):
        super().__init__()
        name = type(self).__name__
        if not shape.causal and not self.bidirectional:
            raise ValueError(f"{name} reads from left to right: it serves a decoder, no encoder and no cross-attention")
        if shape.n_kv_heads != shape.n_heads:
            raise ValueError(
                f"{name} has no grouped heads: n_kv_heads {shape.n_kv_heads} must be n_heads {shape.n_heads}, or null"
            )

    def state(self, context: ForwardContext) -> tuple[Tensor, ...] | None:
        """What it kept of the tokens before these, None at the start of a text."""
        return None if context.cache is None else context.cache.state(self)

    def keep(self, context: ForwardContext, *state: Tensor) -> None:
        """Keep this for the tokens to come, if there are any."""
        if context.cache is not None:
            context.cache.keep(self, *state)


def zero_padding(x: Tensor, padding: Tensor | None) -> Tensor:
    """(B, L, F) with zeros where there is no token."""
    return x if padding is None else x.masked_fill(~padding.unsqueeze(-1), 0.0)


def tokens_first(padding: Tensor) -> Tensor:
    """The order of places (B, L) in which all tokens come before all padding; its ``argsort`` is the way back."""
    return (~padding).int().argsort(dim=-1, stable=True)


def gather_tokens(x: Tensor, places: Tensor) -> Tensor:
    """(B, L, F) and places (B, K) -> what stands there, (B, K, F)."""
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.size(-1)))


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, L, H * D) -> (B, H, L, D)."""
    return x.view(*x.shape[:-1], n_heads, -1).transpose(1, 2)
