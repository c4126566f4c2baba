"""Self-attention with learned distances: how far a key lies before a query changes the scores, or the values too.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys and values, D features of a head, M features of
the model.
"""

from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import (
    AttentionBackend,
    AttentionInputs,
    BiasOf,
    SDPABackend,
    ValuesOf,
    build_backend,
    split_into,
)
from ..base import BuildContext, Linear
from ..context import ForwardContext
from ..position.base import Position, frequencies, position_hooks
from . import by_distance
from .base import Mixer, merge_heads, split_heads


class RelativeAttention(Mixer):
    """Base of the mixers that encode distances themselves.

    Beside them absolute positions may be added to the embeddings (Shaw et al. 2018, section 4.3; He et al. 2020,
    arXiv:2006.03654); what acts on scores would count distances twice.
    """

    backend: AttentionBackend
    cacheable = True
    position_hooks = ("embed",)
    supports_cross_attention = False

    def __init__(self, build: BuildContext, *, bias: bool = False, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0):
        super().__init__()
        self.n_heads, self.n_kv_heads = build.n_heads, build.n_kv_heads
        self.d_head, self.dropout = build.d_head, dropout
        self.query = nn.Linear(build.d_model, build.n_heads * build.d_head, bias)
        self.key = nn.Linear(build.d_model, build.n_kv_heads * build.d_head, bias)
        self.value = nn.Linear(build.d_model, build.n_kv_heads * build.d_head, bias)
        self.out = Linear(build.n_heads * build.d_head, build.d_model, bias, role="out_projection")

    def project(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, D) of the input; keys and values (B, G, S, D) of all that may be attended to."""
        check_position(self, context)
        q = split_heads(self.query(x), self.n_heads)
        k, v = split_heads(self.key(x), self.n_kv_heads), split_heads(self.value(x), self.n_kv_heads)
        k, v = context.extend_cache(self, k, v)
        return q, k, v

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        bias_of: BiasOf,
        context: ForwardContext,
        values_of: ValuesOf | None = None,
    ) -> Tensor:
        """The output (B, L, M) of softmax(scale q k^T + bias) v, with what ``values_of`` adds to it."""
        inputs = AttentionInputs(
            q,
            k,
            v,
            mask=context.mask,
            causal=context.causal,
            unmasked=context.unmasked,
            scale=scale,
            bias_of=bias_of,
            values_of=values_of,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out(merge_heads(self.backend(inputs)))

    def repeat_groups(self, x: Tensor) -> Tensor:
        """(..., G, S, features) -> (..., H, S, features)."""
        return x.repeat_interleave(self.n_heads // x.size(-3), dim=-3)


def check_position(mixer: Mixer, context: ForwardContext) -> None:
    """Errors: ValueError where distances would be encoded twice, or where tokens have none."""
    name, position = type(mixer).__name__, type(context.position)
    if not set(position_hooks(position)) <= set(mixer.position_hooks):
        absolute = ", learned or sinusoidal" if "embed" in mixer.position_hooks else ""
        raise ValueError(
            f"mixer {name} encodes distances itself, and {position.__name__} would encode them twice: "
            f"set model.position to none{absolute}"
        )
    if context.memory is not None:
        raise ValueError(f"mixer {name} needs distances, and a memory has none: choose attention as architecture.cross")


@register("mixer", "shaw", source="Shaw et al. 2018, arXiv:1803.02155")
class Shaw(RelativeAttention):
    """softmax(q (k + a_K)^T / sqrt(D)) (v + a_V), with trained a_K and a_V for each distance, shared by all heads.

    Distances beyond ``clip`` count as ``clip``. ``values`` off leaves out a_V. The model's position is none, or added
    to the embeddings.
    """

    def __init__(
        self, build: BuildContext, *, clip: Annotated[int, Field(ge=1)] = 16, values: bool = True, **options: Any
    ):
        super().__init__(build, **options)
        self.clip, self.future = clip, 0 if build.causal else clip
        self.key_table = nn.Embedding(clip + 1 + self.future, build.d_head)
        self.value_table = nn.Embedding(clip + 1 + self.future, build.d_head) if values else None
        self.backend = SDPABackend()

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.project(x, context)
        scale = self.d_head**-0.5
        rows = by_distance.RowsOfPass(self.rows, context)
        on_keys = by_distance.on_queries(q * scale, self.key_table.weight, rows)
        table = self.value_table
        on_values = None if table is None else by_distance.on_values(table.weight, rows)
        return self.attend(q, k, v, scale, on_keys, context, on_values)

    def rows(self, distance: Tensor) -> Tensor:
        """Distances (...,), negative for the future -> rows (...,) of the tables, the farthest future first."""
        return distance.clamp(-self.future, self.clip) + self.future


@register("mixer", "transformer_xl", source="Dai et al. 2019, arXiv:1901.02860")
class TransformerXL(RelativeAttention):
    """softmax(((q + u) k^T + (q + v) (W R_distance)^T) / sqrt(D)) values, with R the sines and cosines of the distance.

    u and v (one vector per head each) are trained from 0. The model's position is none, or added to the embeddings. The
    paper's memory of earlier segments is what a cache is here.
    """

    decayed_parameters = ()

    def __init__(
        self,
        build: BuildContext,
        *,
        base: Annotated[float, Field(gt=1)] = 10_000.0,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
        **options: Any,
    ):
        super().__init__(build, **options)
        if build.d_model % 2:
            raise ValueError(f"transformer_xl pairs sines with cosines: d_model {build.d_model} is odd")
        self.distance = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(build.n_heads, 1, build.d_head))
        self.distance_bias = nn.Parameter(torch.zeros(build.n_heads, 1, build.d_head))
        self.waves = PositionSinusoids(build, base)
        grouped = build.n_kv_heads != build.n_heads
        self.backend = build_backend(backend, {"bias": True, "dropout": self.dropout > 0, "grouped_query": grouped})

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.project(x, context)
        scale = self.d_head**-0.5
        on_distance = self.on_distance((q + self.distance_bias.to(q.dtype)) * scale, context)
        return self.attend(q + self.content_bias.to(q.dtype), k, v, scale, on_distance, context)

    def on_distance(self, q: Tensor, context: ForwardContext) -> BiasOf:
        """q (W R_(i - j))^T for queries (B, H, L, D) at positions i and keys at j.

        Where positions are those of indices there is one product with W for each distance. Elsewhere sine and cosine of
        i - j are split into those of i and of j, so that no array has L S M entries.
        """
        w = self.distance.weight.view(self.n_heads, self.d_head, -1)
        if by_distance.are_indices(context):

            def embed(distances: Tensor) -> Tensor:
                return torch.cat(self.waves(distances), -1).to(w.dtype) @ w.mT  # (H, N, D)

            return by_distance.on_consecutive_queries(q, embed, context)
        on_sines, on_cosines = (q @ w.to(q.dtype)).chunk(2, -1)
        sin_i, cos_i = (part.to(q.dtype) for part in self.waves(context.positions))
        sin_j, cos_j = (part.to(q.dtype) for part in self.waves(context.key_positions))
        on_cos_j = on_sines * sin_i + on_cosines * cos_i
        on_sin_j = on_cosines * sin_i - on_sines * cos_i
        scores = torch.cat([on_cos_j, on_sin_j], -1) @ torch.cat([cos_j, sin_j], -1).mT
        return partial(split_into, scores)


class PositionSinusoids(Position):
    """Sines and cosines of positions, precise enough for large ones."""

    frequency: Tensor

    def __init__(self, build: BuildContext, base: float):
        super().__init__(build)
        self.constant("frequency", frequencies(build.d_model, base))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(L,) or (B, L) -> sines and cosines, each (1, L, M/2) or (B, 1, L, M/2)."""
        angle = (positions.unsqueeze(-1) * self.frequency).unsqueeze(-3)
        return angle.sin(), angle.cos()
