"""What a sublayer is given besides its input.

Shapes: B batch, L input tokens, S tokens that may be attended to: the same and those in a cache, or those of a memory.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .position.base import Position


class Cache:
    """The states of one model's mixers after the tokens so far, so that the next token costs one step."""

    def __init__(self) -> None:
        self.states: dict[nn.Module, tuple[Tensor, ...]] = {}
        self.buffers: dict[nn.Module, tuple[Tensor, ...]] = {}
        """What the states of growing mixers are the beginning of: room for tokens to come."""
        self.columns: dict[nn.Module, Tensor] = {}
        """Which tokens the state of a mixer with a window holds, indices (W,) or (B, W) of all so far."""
        self.positions: Tensor | None = None  # (S,) or (B, S)
        self.padding: Tensor | None = None  # (B, S), True at tokens
        self.consecutive = True
        """Whether the positions of all tokens so far count them one by one."""

    def extend(self, mixer: nn.Module, *new: Tensor) -> tuple[Tensor, ...]:
        """Append ``new``, each (B, ..., L, F), to what this mixer has; returns all of it, each (B, ..., S, F).

        Into a buffer that doubles when it is full, so that a token costs no copy of those before it; where gradients
        are recorded, into new tensors, since what autograd has saved may not change.
        """
        before = self.states.get(mixer)
        if before is None or torch.is_grad_enabled():
            return self.append(mixer, *new)
        n_before = before[0].size(-2)
        n_all = n_before + new[0].size(-2)
        buffers = self.buffers.get(mixer)
        if buffers is None or buffers[0].size(-2) < n_all:
            buffers = self.buffers[mixer] = tuple(with_room(tensor, 2 * n_all) for tensor in before)
        for buffer, tensor in zip(buffers, new, strict=True):
            buffer.narrow(-2, n_before, n_all - n_before).copy_(tensor)
        self.states[mixer] = tuple([buffer.narrow(-2, 0, n_all) for buffer in buffers])
        return self.states[mixer]

    def append(self, mixer: nn.Module, *new: Tensor) -> tuple[Tensor, ...]:
        """The same as ``extend``, into new tensors (B, ..., S, F)."""
        before = self.states.get(mixer)
        state = new if before is None else tuple(torch.cat(pair, -2) for pair in zip(before, new, strict=True))
        self.update(mixer, *state)
        return state

    def extend_window(self, mixer: nn.Module, window: int, *new: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Append ``new`` as ``extend`` does, then evict what the next token, ``window`` wide, can no longer see.

        Returns which tokens there were before the eviction, indices (S,) or (B, S) of all so far, and the state of
        those. Of each sequence the last ``window`` - 1 tokens stay, padding not counted: positions must grow from token
        to token.
        """
        assert self.positions is not None
        n_all, n_new = self.positions.size(-1), new[0].size(-2)
        columns = torch.arange(n_all - n_new, n_all, device=new[0].device)
        columns = join(self.columns.get(mixer), columns)
        state = self.append(mixer, *new)
        evicted = max(0, columns.size(-1) - (window - 1))
        if self.padding is None:
            self.columns[mixer] = columns[..., evicted:]
            if evicted:  # cloned: a view would keep all of it in memory
                self.update(mixer, *(tensor[..., evicted:, :].clone() for tensor in state))
        else:  # padding first, then the tokens, so that the last ones are the latest tokens of each sequence
            of_rows = columns.expand(len(self.padding), -1)
            order = self.padding.gather(1, of_rows).int().argsort(dim=-1, stable=True)[:, evicted:]
            self.columns[mixer] = of_rows.gather(1, order)
            rows = order[:, None, :, None]
            self.update(mixer, *(x.gather(-2, rows.expand(-1, x.size(1), -1, x.size(-1))) for x in state))
        return columns, state

    def state(self, mixer: nn.Module) -> tuple[Tensor, ...] | None:
        """The state of this mixer, tensors (B, ...); None at the start of a sequence."""
        return self.states.get(mixer)

    def update(self, mixer: nn.Module, *state: Tensor) -> None:
        """Replace the state of this mixer, for one of fixed size: tensors (B, ...)."""
        self.states[mixer] = state
        self.buffers.pop(mixer, None)

    def select(self, rows: Tensor) -> None:
        """Continue with these sequences of the batch, indices (N,), which may leave some out and repeat others."""
        self.states = {mixer: tuple(tensor[rows] for tensor in state) for mixer, state in self.states.items()}
        self.buffers = {}
        self.columns = {mixer: x[rows] if x.dim() == 2 else x for mixer, x in self.columns.items()}
        if self.positions is not None and self.positions.dim() == 2:
            self.positions = self.positions[rows]
        if self.padding is not None:
            self.padding = self.padding[rows]

    def copy(self) -> "Cache":
        """Another cache with the same content, so that continuing from one leaves the other as it is."""
        other = copy(self)
        other.states, other.columns, other.buffers = dict(self.states), dict(self.columns), {}  # each has its own room
        return other

    @property
    def n_bytes(self) -> int:
        """Of the states, those that cross-attention computed from the memory too.

        Positions and padding, which are not per layer, are not counted.
        """
        return sum(tensor.nbytes for state in self.states.values() for tensor in state)


def with_room(tensor: Tensor, length: int) -> Tensor:
    """(..., n, F) at the beginning of an empty (..., length, F)."""
    buffer = tensor.new_empty(*tensor.shape[:-2], length, tensor.size(-1))
    buffer[..., : tensor.size(-2), :] = tensor
    return buffer


def join(before: Tensor | None, new: Tensor) -> Tensor:
    """(..., n) and (..., m) -> (..., n + m), whichever of them has a batch axis."""
    if before is None:
        return new
    if before.dim() != new.dim():
        batch = max(before.size(0) if before.dim() == 2 else 1, new.size(0) if new.dim() == 2 else 1)
        before, new = (x if x.dim() == 2 else x.expand(batch, -1) for x in (before, new))
    return torch.cat([before, new], -1)


class SharedTensors:
    """What one layer hands to later ones in the same pass, beside the residual stream."""

    def __init__(self) -> None:
        self.first_values: Tensor | None = None
        """Values of the first layer's self-attention, (B, G, S, D)."""
        self.first_memory_values: Tensor | None = None
        """Values of the first layer's cross-attention, (B, G, S, D)."""
        self.distance_table: Tensor | None = None
        """Embeddings of distances, (N, M)."""


@dataclass(frozen=True)
class ForwardContext:
    """What a sublayer needs to know of the forward pass, besides its input."""

    position: Position
    positions: Tensor
    """Of the input tokens, (L,) or (B, L)."""
    key_positions: Tensor
    """Of the tokens that may be attended to, (S,) or (B, S)."""
    mask: Tensor
    """(B or 1, 1, L, S), True where a query may attend to a key."""
    causal: bool
    """Whether the mask is the plain triangle over one whole sequence, for which kernels have a fast path."""
    unmasked: bool = field(default=False, kw_only=True)
    """Whether the mask is True everywhere, so that kernels can go without."""
    consecutive: bool = field(default=False, kw_only=True)
    """Whether positions count the tokens one by one, and the last query is the last key: distances are of indices."""
    padding: Tensor | None = None
    """Of the input tokens, (B, L), True at tokens and False at padding; None: no padding."""
    cache: Cache | None = None
    memory: Tensor | None = None
    """In cross-attention, what keys and values are computed from, (B, S, M)."""
    memory_cache: Cache | None = None
    """In cross-attention, where what was computed from the memory is kept for the tokens to come."""
    encoder_output: Tensor | None = None
    """What the decoder's cross-attention takes as memory, (B, S, M)."""
    encoder_mask: Tensor | None = None
    """(B, 1, L, S), True where a target token may attend to a source token."""
    losses: list[Tensor] | None = None
    """Collects what sublayers add to the loss of this pass, such as the load balancing of experts."""
    shared: SharedTensors = field(kw_only=True)

    def cross(self, position: Position) -> "ForwardContext":
        """The same pass for cross-attention: from these tokens to the encoder's output."""
        memory, mask = self.encoder_output, self.encoder_mask
        assert memory is not None and mask is not None
        positions = torch.arange(memory.size(1), device=memory.device)
        return replace(
            self,
            position=position,
            key_positions=positions,
            mask=mask,
            causal=False,
            unmasked=False,
            consecutive=False,
            cache=None,
            memory=memory,
            memory_cache=self.cache,
        )

    def of_keys(self, columns: Tensor) -> "ForwardContext":
        """The same pass, in which only some keys may be attended to: those of the indices (N,) or (B, N)."""
        if columns.dim() == 1:
            positions, mask = self.key_positions[..., columns], self.mask[..., columns]
        else:
            positions = self.key_positions.expand(len(columns), -1).gather(1, columns)
            wanted = columns[:, None, None, :].expand(-1, 1, self.mask.size(-2), -1)
            mask = self.mask.expand(len(columns), -1, -1, -1).gather(-1, wanted)
        return replace(self, key_positions=positions, mask=mask, causal=False, unmasked=False, consecutive=False)

    def from_memory(self, mixer: nn.Module, compute: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What a mixer computes from the memory (B, S, M), tensors (B, ...): with a cache only once."""
        assert self.memory is not None
        if self.memory_cache is None:
            return compute(self.memory)
        kept = self.memory_cache.state(mixer)
        if kept is None:
            kept = compute(self.memory)
            self.memory_cache.update(mixer, *kept)
        return kept

    def rotate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, H, L, D) and keys (B, G, L, D), or (B, G, S, D) of the memory, rotated by position."""
        new = self.positions if self.memory is None else self.key_positions
        return self.position.rotate(q, k, self.positions, new)

    def bias(self, q: Tensor, k: Tensor) -> Tensor | None:
        """What the position adds to the scaled scores, (B or 1, H, L, S), or None."""
        return self.position.bias(q, k, self.positions, self.key_positions)

    def extend_cache(self, mixer: nn.Module, *new: Tensor) -> tuple[Tensor, ...]:
        """``new``, each (B, ..., L, F), after what the cache holds of this mixer; without a cache ``new`` itself."""
        return new if self.cache is None else self.cache.extend(mixer, *new)

    def extend_window(self, mixer: nn.Module, window: int, *new: Tensor) -> tuple["ForwardContext", tuple[Tensor, ...]]:
        """``extend_cache`` for a mixer that sees ``window`` tokens: older ones leave the cache.

        ``new``: each (B, H, L, F). Returns the pass over the keys that are left, and them; without a cache this pass
        and ``new`` itself.
        """
        if self.cache is None:
            return self, new
        columns, state = self.cache.extend_window(mixer, window, *new)
        return self.of_keys(columns), state
