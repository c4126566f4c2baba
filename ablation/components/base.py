"""What every component is built from: the sizes of its model, linear maps that know their role, and full precision."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class BuildContext:
    """Sizes of the model that a component is built for, in features, heads, layers and tokens, and its layer."""

    d_model: int
    """Features of the residual stream, ``M`` in the shapes."""
    n_layers: int
    n_heads: int
    """Heads of the queries, ``H`` in the shapes."""
    n_kv_heads: int
    """Heads of the keys and values: a divisor of ``n_heads``."""
    max_length: int
    """The longest sequence the model is built for, in tokens."""
    dropout: float = 0.0
    """Fraction of features dropped after each sublayer and inside the feedforward."""
    layer: int = 0
    """Index of the layer, from 0."""
    sublayer: int = 0
    """Index of a residual's sublayer in the whole stack, from 0."""
    causal: bool = True
    """Whether no token may attend to a later one."""
    d_head: int = 0
    """Features of one head, ``D`` in the shapes; left out, ``d_model // n_heads``."""

    def __post_init__(self) -> None:
        if not self.d_head:
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)  # the one change of a frozen object


Role = Literal["linear", "out_projection", "unscaled_query", "class_head", "lm_head", "router"]
"""What a linear map does, by which its initial weights are chosen; each is a method of ``Initialization``.

``out_projection``: the last map of a sublayer, whose output is added to the residual stream. ``unscaled_query``: makes
the queries of scores that are not divided by sqrt(D). ``class_head``: the map to the classes. ``lm_head``: the map to
the vocabulary where it is not the embedding's table. ``router``: from a token to the scores of experts.
"""


class Linear(nn.Linear):
    """A linear map with a role; a plain ``nn.Linear`` has the role ``linear``."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, role: Role):
        super().__init__(in_features, out_features, bias)
        self.role: Role = role


def role_of(module: nn.Module) -> Role | None:
    """The role of a linear map, None for any other module."""
    if isinstance(module, Linear):
        return module.role
    return "linear" if isinstance(module, nn.Linear) else None


def at_least_float32(x: Tensor) -> Tensor:
    """The same numbers, in float32 if they are in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def upcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """At least 32 bits: rounding errors of a recurrent state add up over a sequence."""
    return tuple(at_least_float32(x) for x in tensors)


def full_precision(x: Tensor) -> "torch.autocast | nullcontext[None]":
    """A context in which mixed precision does not lower what ``upcast`` has raised."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
