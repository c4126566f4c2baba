"""What mixers share that place tokens by themselves, by how far a key lies before a query.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys and values, D features of a head.
"""

# DOC-TO-MERGE: 'Relative position representations: a vector per distance joins keys and values.\n\nShapes: B batch, L queries, S keys, H heads of queries, D features of a head.\n'

# DOC-TO-MERGE: "Transformer-XL's attention: what is there and where it is are asked for apart.\n\nShapes: B batch, L queries, S keys, H heads of queries, D features of a head, M of the model.\n"

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import dropout as drop

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, MaskedSoftmax, build_backend
from ..base import BuildContext, OutProjection
from ..context import ForwardContext
from ..position.base import Position, distance, frequencies
from .base import Mixer

Dropout = Annotated[float, Field(ge=0, lt=1)]


class RelativeAttention(Mixer):
    """Base of self-attention with learned distances; a member says what they do to the scores, and to the values."""

    cacheable = True
    position_hooks = ()
    supports_cross_attention = False
    called: ClassVar[str]

    def __init__(self, shape: BuildContext, bias: bool, dropout: float):
        super().__init__()
        self.n_heads, self.d_head, self.dropout = shape.n_heads, shape.d_head, dropout
        self.query = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias)
        self.key = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.value = nn.Linear(shape.d_model, shape.n_kv_heads * shape.d_head, bias)
        self.out = OutProjection(shape.n_heads * shape.d_head, shape.d_model, bias)

    def content(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor, Tensor]:
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


def distances(context: ForwardContext) -> Tensor:
    """How far each key lies before each query, (B or 1, L, S)."""
    return distance(context.positions, context.key_positions).squeeze(1)


def refuse_other_positions(mixer: str, context: ForwardContext) -> None:
    """Errors: ValueError where tokens would be placed twice, or where there is no distance between them."""
    if type(context.position) is not Position:
        raise ValueError(f"mixer {mixer!r} places tokens by itself: set model.position to none")
    if context.memory is not None:
        raise ValueError(f"mixer {mixer!r} needs distances, and a memory has none: choose attention across")


@register("mixer", "shaw", source="Shaw et al. 2018, arXiv:1803.02155")
class Shaw(RelativeAttention):
    """softmax(q (k + a_K)^T / sqrt(D)) (v + a_V), with trained a_K and a_V for each distance, shared by all heads.

    Distances beyond ``clip`` count as ``clip``. ``values`` off leaves out a_V. The model's position must be none. No
    backend hands out the weights that a_V needs, so the formula is written out here.
    """

    called = "shaw"

    def __init__(
        self,
        shape: BuildContext,
        *,
        clip: Annotated[int, Field(ge=1)] = 16,
        values: bool = True,
        bias: bool = False,
        dropout: Dropout = 0.0,
    ):
        super().__init__(shape, bias, dropout)
        self.clip, self.future = clip, 0 if shape.causal else clip
        self.key_table = nn.Embedding(clip + 1 + self.future, shape.d_head)
        self.value_table = nn.Embedding(clip + 1 + self.future, shape.d_head) if values else None
        self.softmax = MaskedSoftmax()

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.content(x, context)
        k, v = self.for_every_query_head(k), self.for_every_query_head(v)
        rows = distances(context).clamp(-self.future, self.clip) + self.future  # the farthest future first
        on_keys = torch.einsum("bhld,blsd->bhls", q, self.key_table(rows))
        weights = self.softmax((q @ k.mT + on_keys) * self.d_head**-0.5, context.mask)
        weights = drop(weights, self.dropout if self.training else 0.0)
        y = weights @ v
        if self.value_table is not None:
            y = y + torch.einsum("bhls,blsd->bhld", weights, self.value_table(rows))
        return self.out(y.transpose(1, 2).flatten(2))


@register("mixer", "transformer_xl", source="Dai et al. 2019, arXiv:1901.02860")
class TransformerXL(RelativeAttention):
    """softmax(((q + u) k^T + (q + v) (W R_distance)^T) / sqrt(D)) values, with R the sines and cosines of the distance.

    u and v (one vector per head each) are trained from 0. The model's position must be none. The paper's memory of
    the text before is what a cache is here.
    """

    called = "transformer_xl"

    def __init__(
        self,
        shape: BuildContext,
        *,
        base: Annotated[float, Field(gt=1)] = 10_000.0,
        bias: bool = False,
        dropout: Dropout = 0.0,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__(shape, bias, dropout)
        if shape.d_model % 2:
            raise ValueError(f"transformer_xl pairs sines with cosines: d_model {shape.d_model} is odd")
        self.distance = nn.Linear(shape.d_model, shape.n_heads * shape.d_head, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head))
        self.distance_bias = nn.Parameter(torch.zeros(shape.n_heads, 1, shape.d_head))
        self.waves = SinusoidsOfPositions(shape, base)
        wanted = {"bias": True, "dropout": dropout > 0, "grouped_query": shape.n_kv_heads != shape.n_heads}
        self.backend: AttentionBackend = build_backend(backend, wanted)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, values = self.content(x, context)
        scale, p = self.d_head**-0.5, self.dropout if self.training else 0.0
        on_distance = self.on_distance(q + self.distance_bias.to(q.dtype), context) * scale
        y = self.backend(q + self.content_bias.to(q.dtype), k, values, on_distance, context, scale, p)
        return self.out(y.transpose(1, 2).flatten(2))

    def on_distance(self, q: Tensor, context: ForwardContext) -> Tensor:
        """q (W R_(i - j))^T, (B, H, L, S), for queries (B, H, L, D) at positions i and keys at j.

        The sine and cosine of i - j are taken apart into those of i and of j: no array has L S M entries, and positions
        may be any.
        """
        w = self.distance.weight.view(self.n_heads, self.d_head, -1)
        on_sines, on_cosines = (q @ w.to(q.dtype)).chunk(2, -1)
        sin_i, cos_i = (part.to(q.dtype) for part in self.waves(context.positions))
        sin_j, cos_j = (part.to(q.dtype) for part in self.waves(context.key_positions))
        on_cos_j = on_sines * sin_i + on_cosines * cos_i
        on_sin_j = on_cosines * sin_i - on_sines * cos_i
        return on_cos_j @ cos_j.mT + on_sin_j @ sin_j.mT


class SinusoidsOfPositions(Position):
    """Sines and cosines of positions, in enough precision for far ones."""

    frequency: Tensor

    def __init__(self, shape: BuildContext, base: float):
        super().__init__(shape)
        self.constant("frequency", frequencies(shape.d_model, base))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(L,) or (B, L) -> sines and cosines, each (1, L, M/2) or (B, 1, L, M/2)."""
        angle = (positions.unsqueeze(-1) * self.frequency).unsqueeze(-3)
        return angle.sin(), angle.cos()
