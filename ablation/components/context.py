"""What a sublayer may look at besides its input.

Shapes: B batch, L tokens that come in, S tokens that may be attended to (the same, and those that a cache holds; or
the memory's).
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .position.base import Position


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

    def state(self, mixer: nn.Module) -> tuple[Tensor, ...] | None:
        """What this mixer kept last, None at the start of a text."""
        return self.kept.get(mixer)

    def keep(self, mixer: nn.Module, *state: Tensor) -> None:
        """Keep a state of fixed size in place of what this mixer kept before."""
        self.kept[mixer] = state

    def choose(self, rows: Tensor) -> None:
        """Go on from these texts of the batch, ids (N,): some may be left out, others be there more than once."""
        self.kept = {mixer: tuple(tensor[rows] for tensor in kept) for mixer, kept in self.kept.items()}
        if self.positions is not None and self.positions.dim() == 2:
            self.positions = self.positions[rows]
        if self.padding is not None:
            self.padding = self.padding[rows]

    @property
    def n_bytes(self) -> int:
        return sum(tensor.nbytes for kept in self.kept.values() for tensor in kept)


@dataclass(frozen=True)
class ForwardContext:
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
    padding: Tensor | None = None
    """Of the tokens that come in, (B, L), True where there is one; None: everywhere."""
    cache: Cache | None = None
    memory: Tensor | None = None
    """What keys and values are made of, (B, S, M), where that is not the tokens themselves."""
    losses: list[Tensor] | None = None
    """Receives what sublayers want added to the loss of this pass, such as the balance of experts."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """What layers hand on to later ones beside the residual stream, such as the first layer's values."""

    def across(self, memory: Tensor, mask: Tensor, position: Position) -> "ForwardContext":
        """The same pass for a sublayer that looks from these tokens at others, ``memory`` (B, S, M)."""
        positions = torch.arange(memory.size(1), device=memory.device)
        return replace(
            self, position=position, key_positions=positions, mask=mask, causal=False, cache=None, memory=memory
        )
