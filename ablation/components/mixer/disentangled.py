"""DeBERTa's attention: contents ask for distances, and distances for contents.

Shapes: B batch, L queries, S keys, H heads of queries, G heads of keys, D features of a head, N rows of the table.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, build_backend
from ..base import BuildContext
from ..context import ForwardContext
from .relative import Dropout, RelativeAttention, distances

SHARED = "disentangled table"


@register("mixer", "disentangled", source="He et al. 2020, arXiv:2006.03654; buckets: He et al. 2021, arXiv:2111.09543")
class Disentangled(RelativeAttention):
    """softmax((q k^T + q k_r^T + q_r k^T) / sqrt(3 D)) v, with k_r and q_r made of a table of distances r.

    The first layer holds the table, normed where ``table_norm`` is on, for all layers. ``share_projections`` makes k_r
    and q_r with the maps of the contents, as DeBERTa-v2 and v3 do. ``content_to_position`` is q k_r^T,
    ``position_to_content`` is q_r k^T; without one of them the scale is 1 / sqrt(2 D). ``buckets`` are the rows for
    each direction: half of them hold one distance each, the others ranges that grow up to ``max_distance``; null:
    ``max_distance`` rows with one distance each, as in the first DeBERTa. The model's position must be none.
    """

    called = "disentangled"

    def __init__(
        self,
        shape: BuildContext,
        *,
        buckets: Annotated[int, Field(ge=4, multiple_of=2)] | None = 256,
        max_distance: Annotated[int, Field(ge=2)] = 512,
        content_to_position: bool = True,
        position_to_content: bool = True,
        share_projections: bool = True,
        table_norm: bool = True,
        eps: Annotated[float, Field(gt=0)] = 1e-7,
        bias: bool = False,
        dropout: Dropout = 0.0,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__(shape, bias, dropout)
        if not content_to_position and not position_to_content:
            raise ValueError("disentangled needs content_to_position or position_to_content: without, use attention")
        if buckets is not None and max_distance - 1 <= buckets // 2:
            raise ValueError(
                f"max_distance {max_distance} must lie beyond the {buckets // 2} distances that have a row each"
            )
        self.buckets, self.max_distance, self.rows = buckets, max_distance, buckets or max_distance
        # In float32, as distances are below: the farthest distance then lies on its bucket's edge, not beyond.
        self.log_max_distance = torch.tensor(2 * (max_distance - 1) / self.rows, device="cpu").log().item()
        self.scale = (shape.d_head * (1 + content_to_position + position_to_content)) ** -0.5
        first = shape.layer == 0
        self.table = nn.Embedding(2 * self.rows, shape.d_model) if first else None
        self.table_norm = nn.LayerNorm(shape.d_model, eps) if first and table_norm else None
        self.asks_position, self.asked_by_position = content_to_position, position_to_content
        apart = not share_projections
        keys, queries = shape.n_kv_heads * shape.d_head, shape.n_heads * shape.d_head
        self.table_key = nn.Linear(shape.d_model, keys, bias) if apart and content_to_position else None
        self.table_query = nn.Linear(shape.d_model, queries, bias) if apart and position_to_content else None
        wanted = {"bias": True, "dropout": dropout > 0, "grouped_query": shape.n_kv_heads != shape.n_heads}
        self.backend: AttentionBackend = build_backend(backend, wanted)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.content(x, context)
        future = 0 if context.causal else self.rows  # nobody looks there: half of the products would be for nothing
        table = self.shared_table(context)[self.rows - future :]  # the max_distance future first
        rows = self.bucket(distances(context)).add(future).clamp(0, len(table) - 1).unsqueeze(1)
        scores = torch.zeros((), dtype=q.dtype, device=q.device)
        if self.asks_position:
            k_r = self.for_every_query_head(self.heads((self.table_key or self.key)(table)))  # (H, N, D)
            scores = scores + gather(q @ k_r.mT, rows)
        if self.asked_by_position:
            q_r = self.heads((self.table_query or self.query)(table))  # (H, N, D)
            scores = scores + gather(self.for_every_query_head(k) @ q_r.mT, rows.mT).mT
        p = self.dropout if self.training else 0.0
        y = self.backend(q, k, v, scores * self.scale, context, self.scale, p)
        return self.out(y.transpose(1, 2).flatten(2))

    def shared_table(self, context: ForwardContext) -> Tensor:
        """The vectors of the distances, (N, M), from the first layer's on."""
        if self.table is not None:
            table = self.table.weight
            context.shared[SHARED] = table if self.table_norm is None else self.table_norm(table)
        if SHARED not in context.shared:
            raise ValueError("disentangled attention reads the first layer's table: choose it there too")
        return context.shared[SHARED]

    def bucket(self, distance: Tensor) -> Tensor:
        """Distances in tokens, negative to the future -> rows from the middle of the table."""
        if self.buckets is None:
            return distance
        exact = self.buckets // 2
        far = (distance.abs().clamp(min=exact) / exact).log() / self.log_max_distance * (exact - 1)
        return torch.where(distance.abs() <= exact, distance, distance.sign() * (far.ceil().long() + exact))


def gather(scores: Tensor, rows: Tensor) -> Tensor:
    """Scores of every row of the table (B, H, L, N) -> of the rows that are asked for (B or 1, 1, L, S)."""
    return scores.gather(-1, rows.expand(*scores.shape[:2], -1, -1))
