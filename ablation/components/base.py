"""The sizes that every component is built for."""

# DOC-TO-MERGE: 'Linear maps, told apart by their place, since initializations treat them differently.'

# DOC-TO-MERGE: 'Precision: what is computed in full where the rest is lowered.'

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class BuildContext:
    """Sizes of one model, in features, heads, layers and tokens."""

    d_model: int
    """Features of the residual stream, ``M`` in the shapes."""
    n_layers: int
    n_heads: int
    """Heads of the queries, ``H`` in the shapes."""
    n_kv_heads: int
    """Heads of the keys and values: a divisor of ``n_heads``."""
    max_length: int
    """The longest text the model is built for, in tokens."""
    dropout: float = 0.0
    """Share of features dropped after each sublayer and inside the feedforward."""
    layer: int = 0
    """Which layer a part is built for, from 0."""
    sublayer: int = 0
    """Which sublayer of the whole stack a residual is built for, from 0."""
    causal: bool = True
    """Whether no token may see a later one."""
    d_head: int = 0
    """Features of one head, ``D`` in the shapes; left out, ``d_model // n_heads``."""

    def __post_init__(self) -> None:
        if not self.d_head:
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)  # frozen for all others


class ClassHead(nn.Linear):
    """The last map of a model that tells classes."""


class UnscaledQuery(nn.Linear):
    """Makes the queries of scores that nothing divides by sqrt(D), so that a scheme may draw it narrower instead."""

    def __init__(self, in_features: int, out_features: int, bias: bool, d_head: int):
        super().__init__(in_features, out_features, bias)
        self.d_head = d_head


class OutProjection(nn.Linear):
    """The last map of a sublayer: what it returns is added to the residual stream."""


def upcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """At least 32 bits: the errors of a state add up over a text."""
    return tuple(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for x in tensors)


def full_precision(x: Tensor) -> "torch.autocast | nullcontext[None]":
    """Where it is entered, mixed precision does not lower what ``upcast`` has raised."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
