"""Feedforward: what a token makes of what it has learned. Most of a Transformer's parameters live here.

Shapes: B batch, L tokens, M features of the model.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..context import Context

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "squared_relu", "sigmoid", "identity"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "squared_relu": lambda x: F.relu(x).square(),
    "sigmoid": lambda x: x.sigmoid(),
    "identity": lambda x: x,
}


class Feedforward(nn.Module):
    """Base of what works on each token alone."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError
