"""Absolute positions: a vector for each position is added to the token embeddings.

Shapes: B batch, L tokens, M features of the model.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..base import BuildContext
from .base import Position, frequencies


@register("position", "learned", source="Gehring et al. 2017, arXiv:1705.03122")
class Learned(Position):
    """One trained vector per position, added to the token embeddings."""

    def __init__(self, build: BuildContext):
        super().__init__(build)
        self.table = nn.Embedding(build.max_length, build.d_model)
        self.max_positions = build.max_length

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        if positions.size(-1) > self.table.num_embeddings:  # not always: reading positions waits for an accelerator
            self.check_in_table(positions)
        try:
            return x + self.table(positions)
        except IndexError:  # on a CPU; an accelerator stops with an assertion of its own
            self.check_in_table(positions)
            raise

    def check_in_table(self, positions: Tensor) -> None:
        """Errors: ValueError when a position, (L,) or (B, L), is beyond the last row of the table."""
        last, largest = self.table.num_embeddings - 1, int(positions.max())
        if largest > last:
            raise ValueError(f"learned positions end at {last}, not at {largest}: raise model.max_length") from None


@register("position", "sinusoidal", source="Vaswani et al. 2017, arXiv:1706.03762")
class Sinusoidal(Position):
    """Fixed sines and cosines of many wavelengths, added to the scaled token embeddings.

    ``embedding_scale`` multiplies the token embeddings first; None: sqrt(M), as in section 3.4 of the paper,
    without which small initial embeddings would be negligible beside the sines.
    """

    frequency: Tensor

    def __init__(
        self,
        build: BuildContext,
        *,
        base: Annotated[float, Field(gt=1)] = 10_000.0,
        embedding_scale: Annotated[float, Field(gt=0)] | None = None,
    ):
        super().__init__(build)
        self.scale = math.sqrt(build.d_model) if embedding_scale is None else embedding_scale
        self.constant("frequency", frequencies(build.d_model, base))

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        angle = positions.unsqueeze(-1) * self.frequency
        waves = torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[..., : x.size(-1)]
        return x * self.scale + waves.to(x.dtype)
