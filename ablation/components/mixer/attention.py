"""Softmax attention.

Shapes: B batch, L tokens, H heads of queries, G heads of keys and values, D features of a head, M of the model.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, register
from ..backend import Backend
from ..context import Context
from ..linear import OutProjection
from ..shape import Shape
from .contract import Mixer


@register(
    "mixer",
    "attention",
    source="Vaswani et al. 2017, arXiv:1706.03762; grouped heads: Ainslie et al. 2023, arXiv:2305.13245",
)
class Attention(Mixer):
    """softmax(q k^T / sqrt(D)) v in several heads; query head h reads key and value head h // (H / G).

    ``scale`` off leaves out 1 / sqrt(D); ``dropout`` falls on the attention weights.
    """

    cacheable = True

    def __init__(
        self,
        shape: Shape,
        *,
        scale: bool = True,
        bias: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        backend: Annotated[ComponentConfig, Slot("backend")] = "sdpa",  # type: ignore[assignment]
    ):
        super().__init__()
        self.d_head, self.dropout = shape.d_head, dropout
        self.scale = shape.d_head**-0.5 if scale else 1.0
        self.query = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias)
        self.key = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.value = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.out = OutProjection(shape.n_heads * shape.d_head, shape.d_model, bias)
        self.backend: Backend = backend.build()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        source = x if context.memory is None else context.memory
        q, k, v = self.heads(self.query(x)), self.heads(self.key(source)), self.heads(self.value(source))
        new = context.positions if context.memory is None else context.key_positions
        q, k = context.position.rotate(q, k, context.positions, new)
        if context.cache is not None:
            k, v = context.cache.extend(self, k, v)
        bias = context.position.bias(q, k, context.positions, context.key_positions)
        y = self.backend(q, k, v, bias, context, self.scale, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, heads * D) -> (B, heads, L, D)."""
        return x.view(*x.shape[:-1], -1, self.d_head).transpose(1, 2)
