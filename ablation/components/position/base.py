"""Position: how the model is given the positions of the tokens.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys, D features of a head, M features of the model.
Positions are integers, ``(L,)`` or, where the sequences of a batch start at different positions, ``(B, L)``.
"""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...registry import register
from ..base import BuildContext


@register("position", "none", source="Haviv et al. 2022, arXiv:2203.16634")
class Position(nn.Module):
    """No encoding of positions: a causal decoder can still count the tokens that it attends to.

    All others derive from this one and override one hook: once before the first block, or in every attention on
    queries and keys, or in every attention on the scores.
    """

    max_positions: int | None = None
    """The number of positions it can encode; None: any number."""
    cacheable: bool = True
    """Whether keys stay valid in a cache while the sequence grows."""

    def __init__(self, build: BuildContext):
        super().__init__()
        self.constants: dict[str, Tensor] = {}

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings (B, L, M) -> the same, with positions."""
        return x

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, H, L, D) and keys (B, G, S, D) -> the same, with positions."""
        return q, k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """The bias that is added to the scaled scores, (B or 1, H, L, S), or None."""
        return None

    def constant(self, name: str, value: Tensor) -> None:
        """Register ``value`` (...,), float64, as a buffer with the module's device and precision, but at least float32.

        Frequencies and slopes are multiplied by positions: in half precision, large positions would be wrong.
        """
        self.constants[name] = value
        self.register_buffer(name, value.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self.constants.items():
            moved: Any = getattr(self, name)
            setattr(self, name, value.to(moved.device, torch.promote_types(moved.dtype, torch.float32)))
        return self


def position_hooks(position: type) -> list[str]:
    """The hooks that a kind of position overrides; the base's do nothing."""
    return [name for name in ("embed", "rotate", "bias") if getattr(position, name) is not getattr(Position, name)]


def distance(q_positions: Tensor, k_positions: Tensor) -> Tensor:
    """How far each key lies before each query, in tokens: (B or 1, 1, L, S).

    Positions are (L,) or (B, L) of the queries and (S,) or (B, S) of the keys.
    """
    difference = q_positions.unsqueeze(-1) - k_positions.unsqueeze(-2)
    return difference[None, None] if difference.dim() == 2 else difference.unsqueeze(1)


def frequencies(features: int, base: float) -> Tensor:
    """Radians per token of each pair of features, (features / 2,) in float64, from 1 down to almost 1 / base."""
    return base ** (-torch.arange(0, features, 2, dtype=torch.float64) / features)
