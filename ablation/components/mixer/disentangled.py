"""DeBERTa's attention: scores between contents, from content to distance, and from distance to content.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys, D features of a head, N rows of the table.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, QueryBlock, build_backend
from ..base import BuildContext
from ..context import ForwardContext
from .base import split_heads
from .by_distance import RowsOfPass, on_keys, on_queries
from .relative import RelativeAttention


@register("mixer", "disentangled", source="He et al. 2020, arXiv:2006.03654; buckets: He et al. 2021, arXiv:2111.09543")
class Disentangled(RelativeAttention):
    """softmax((q k^T + q k_r^T + q_r k^T) / sqrt(3 D)) v, with k_r and q_r computed from a table of distances r.

    The first layer holds the table, normalized where ``table_norm`` is on, for all layers. ``share_projections``
    computes k_r and q_r with the maps of the contents, as DeBERTa-v2 and v3 do. ``content_to_position`` is q k_r^T,
    ``position_to_content`` is q_r k^T; without one of them the scale is 1 / sqrt(2 D). ``buckets`` are the rows for
    each direction: half of them hold one distance each, the others ranges that grow up to ``max_distance``; null:
    ``max_distance`` rows with one distance each, as in the first DeBERTa. The model's position is none, or added to the
    embeddings.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        buckets: Annotated[int, Field(ge=4, multiple_of=2)] | None = 256,
        max_distance: Annotated[int, Field(ge=2)] = 512,
        content_to_position: bool = True,
        position_to_content: bool = True,
        share_projections: bool = True,
        table_norm: bool = True,
        eps: Annotated[float, Field(gt=0)] = 1e-7,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
        **options: Any,
    ):
        super().__init__(build, **options)
        if not content_to_position and not position_to_content:
            raise ValueError(
                "disentangled needs content_to_position or position_to_content; without both, use the mixer attention"
            )
        if buckets is not None and max_distance - 1 <= buckets // 2:
            raise ValueError(
                f"max_distance {max_distance} must lie beyond the {buckets // 2} distances that have a row each"
            )
        self.buckets, self.max_distance, self.rows = buckets, max_distance, buckets or max_distance
        # In float32, as distances are below: the farthest distance then lies on its bucket's edge, not beyond.
        self.log_max_distance = torch.tensor(2 * (max_distance - 1) / self.rows, device="cpu").log().item()
        self.scale = (build.d_head * (1 + content_to_position + position_to_content)) ** -0.5
        first = build.layer == 0
        self.table = nn.Embedding(2 * self.rows, build.d_model) if first else None
        self.table_norm = nn.LayerNorm(build.d_model, eps) if first and table_norm else None
        self.content_to_position, self.position_to_content = content_to_position, position_to_content
        separate, bias = not share_projections, self.query.bias is not None
        keys, queries = build.n_kv_heads * build.d_head, build.n_heads * build.d_head
        self.table_key = nn.Linear(build.d_model, keys, bias) if separate and content_to_position else None
        self.table_query = nn.Linear(build.d_model, queries, bias) if separate and position_to_content else None
        grouped = build.n_kv_heads != build.n_heads
        self.backend = build_backend(backend, {"bias": True, "dropout": self.dropout > 0, "grouped_query": grouped})

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.project(x, context)
        future = 0 if context.causal else self.rows  # masked: half of the products would be for nothing
        table = self.shared_table(context)[self.rows - future :]  # the farthest future first

        def rows(distance: Tensor) -> Tensor:
            return self.bucket(distance).add(future).clamp(0, len(table) - 1)

        by, biases = RowsOfPass(rows, context), []
        if self.content_to_position:
            k_r = split_heads((self.table_key or self.key)(table), self.n_kv_heads)  # (G, N, D)
            biases.append(on_queries(self.scale * q, self.repeat_groups(k_r), by))
        if self.position_to_content:
            q_r = split_heads((self.table_query or self.query)(table), self.n_heads)  # (H, N, D)
            biases.append(on_keys(self.scale * self.repeat_groups(k), q_r, by))

        def both(blocks: Sequence[QueryBlock]) -> Iterable[Tensor]:
            return map(torch.add, *(bias_of(blocks) for bias_of in biases))

        return self.attend(q, k, v, self.scale, both if len(biases) == 2 else biases[0], context)

    def shared_table(self, context: ForwardContext) -> Tensor:
        """The embeddings of distances, (N, M), which the first layer hands to all.

        Errors: ValueError where the first layer has none.
        """
        if self.table is not None:
            table = self.table.weight
            context.shared.distance_table = table if self.table_norm is None else self.table_norm(table)
        if context.shared.distance_table is None:
            raise ValueError("disentangled attention reads the first layer's table: choose it there too")
        return context.shared.distance_table

    def bucket(self, distance: Tensor) -> Tensor:
        """Distances in tokens (...,), negative for the future -> rows (...,) from the middle of the table."""
        if self.buckets is None:
            return distance
        exact = self.buckets // 2
        beyond = (distance.abs().clamp(min=exact) / exact).log() / self.log_max_distance * (exact - 1)
        return torch.where(distance.abs() <= exact, distance, distance.sign() * (beyond.ceil().long() + exact))
