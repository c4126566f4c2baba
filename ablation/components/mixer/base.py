"""Mixer: what mixes information along the sequence; and the base of recurrent mixers, with how they skip padding.

Shapes: B batch, L tokens, H heads, D features of a head, F any features, M features of the model.
"""

from typing import ClassVar

from torch import Tensor, nn

from ..base import BuildContext
from ..context import ForwardContext


class Mixer(nn.Module):
    """Base of what mixes along the sequence."""

    cacheable: ClassVar[bool] = False
    """Whether it can continue from a ``Cache`` one token at a time."""
    position_hooks: ClassVar[tuple[str, ...]] = ("embed", "rotate", "bias")
    """The hooks of a position that affect it; neither rotations nor biases where it encodes distances itself."""
    uses_heads: ClassVar[bool] = True
    """Whether the number of heads has an effect; a grid that varies only what has none is an error."""
    supports_cross_attention: ClassVar[bool] = True
    """Whether it can compute its keys and values from a memory."""
    left_out: ClassVar[bool] = False
    """Whether blocks go without this sublayer."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError

    @property
    def n_outputs(self) -> int:
        """Heads whose outputs lie side by side in the input of the last map, ``out``; 0 where there are no heads."""
        return getattr(self, "n_heads", 0) if self.uses_heads else 0

    def combine_maps(self, maps: Tensor) -> Tensor:
        """What its backend computed for each map, (B, maps, L, features or keys) -> for each output of a head."""
        return maps


class RecurrentMixer(Mixer):
    """Base of what carries the past in a state, instead of attending to every token of it.

    It depends on the order of tokens even without positions. Positions that are added to the embeddings have an effect;
    rotations of queries and keys and biases of scores have nothing to act on, as ``position_hooks`` says.
    """

    cacheable = True
    position_hooks = ("embed",)
    supports_cross_attention = False
    bidirectional: ClassVar[bool] = False
    """Whether it has a form in which tokens depend on later ones."""

    def __init__(self, build: BuildContext):
        super().__init__()
        name = type(self).__name__
        if not build.causal and not self.bidirectional:
            raise ValueError(f"{name} reads from left to right: it fits a decoder, no encoder and no cross-attention")
        if build.n_kv_heads != build.n_heads:
            raise ValueError(
                f"{name} has no grouped heads: n_kv_heads {build.n_kv_heads} must be n_heads {build.n_heads}, or null"
            )

    def state(self, context: ForwardContext) -> tuple[Tensor, ...] | None:
        """The state after the tokens before these, tensors (B, ...); None at the start of a sequence."""
        return None if context.cache is None else context.cache.state(self)

    def update_state(self, context: ForwardContext, *state: Tensor) -> None:
        """Store the state for the tokens to come, tensors (B, ...), if there is a cache."""
        if context.cache is not None:
            context.cache.update(self, *state)


def zero_padding(x: Tensor, padding: Tensor | None) -> Tensor:
    """(B, L, F) with zeros at padding."""
    return x if padding is None else x.masked_fill(~padding.unsqueeze(-1), 0.0)


def tokens_first(padding: Tensor) -> Tensor:
    """Indices (B, L) that move all tokens before all padding; their ``argsort`` is the way back."""
    return (~padding).int().argsort(dim=-1, stable=True)


def gather_tokens(x: Tensor, indices: Tensor) -> Tensor:
    """(B, L, F) and indices (B, K) -> (B, K, F)."""
    return x.gather(1, indices.unsqueeze(-1).expand(-1, -1, x.size(-1)))


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(..., L, H * D) -> (..., H, L, D)."""
    return x.view(*x.shape[:-1], n_heads, -1).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(..., H, L, D) -> (..., L, H * D)."""
    return x.transpose(-3, -2).flatten(-2)
