"""What mixers share that place tokens by themselves, by how far a key lies before a query.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys and values, D features of a head.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ..context import Context
from ..linear import OutProjection
from ..position import Position, distance
from ..shape import Shape
from .contract import Mixer

Dropout = Annotated[float, Field(ge=0, lt=1)]


class Relative(Mixer):
    """Base of self-attention with learned distances; a member says what they do to the scores, and to the values."""

    cacheable = True
    hooks = ()
    crosses = False
    called: ClassVar[str]

    def __init__(self, shape: Shape, bias: bool, dropout: float):
        super().__init__()
        self.n_heads, self.d_head, self.dropout = shape.n_heads, shape.d_head, dropout
        self.query = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias)
        self.key = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.value = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.out = OutProjection(shape.n_heads * shape.d_head, shape.d_model, bias)

    def content(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, D) of the tokens that come in; keys and values (B, G, S, D) of all that may be seen."""
        refuse_other_positions(self.called, context)
        q, k, v = (self.heads(linear(x)) for linear in (self.query, self.key, self.value))
        if context.cache is not None:
            k, v = context.cache.extend(self, k, v)
        return q, k, v

    def heads(self, x: Tensor) -> Tensor:
        """(..., L, heads * D) -> (..., heads, L, D)."""
        return x.view(*x.shape[:-1], -1, self.d_head).transpose(-3, -2)

    def for_every_query_head(self, x: Tensor) -> Tensor:
        """(..., G, S, features) -> (..., H, S, features)."""
        return x.repeat_interleave(self.n_heads // x.size(-3), dim=-3)


def distances(context: Context) -> Tensor:
    """How far each key lies before each query, (B or 1, L, S)."""
    return distance(context.positions, context.key_positions).squeeze(1)


def refuse_other_positions(mixer: str, context: Context) -> None:
    """Errors: ValueError where tokens would be placed twice, or where there is no distance between them."""
    if type(context.position) is not Position:
        raise ValueError(f"mixer {mixer!r} places tokens by itself: set model.position to none")
    if context.memory is not None:
        raise ValueError(f"mixer {mixer!r} needs distances, and a memory has none: choose attention across")
