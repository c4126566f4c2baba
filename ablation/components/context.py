"""What a sublayer may look at besides its input.

Shapes: B batch, L tokens that come in, S tokens that may be attended to (the same, and those that a cache holds).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .position import Position


class Cache:
    """What the mixers of one model keep of the tokens seen so far, so that the next token costs one step."""

    def __init__(self) -> None:
        self.kept: dict[nn.Module, tuple[Tensor, ...]] = {}
        self.positions: Tensor | None = None  # (S,) or (B, S)
        self.padding: Tensor | None = None  # (B, S), True where there is a token

    def extend(self, mixer: nn.Module, *new: Tensor) -> tuple[Tensor, ...]:
        """Keep ``new``, tensors whose last but one axis is the length, after what this mixer kept before."""
        before = self.kept.get(mixer)
        kept = new if before is None else tuple(torch.cat(pair, -2) for pair in zip(before, new, strict=True))
        self.kept[mixer] = kept
        return kept

    @property
    def n_bytes(self) -> int:
        return sum(tensor.nbytes for kept in self.kept.values() for tensor in kept)


@dataclass(frozen=True)
class Context:
    """One forward pass, as its sublayers see it."""

    position: Position
    positions: Tensor
    """Of the tokens that come in, (L,) or (B, L)."""
    key_positions: Tensor
    """Of the tokens that may be attended to, (S,) or (B, S)."""
    mask: Tensor
    """(B or 1, 1, L, S), True where a query may look at a key."""
    causal: bool
    """Whether the mask is the plain triangle over one whole text, which kernels have built in."""
    cache: Cache | None = None
