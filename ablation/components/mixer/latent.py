"""Latent attention: keys and values of all heads are made anew from one small vector per token.

Shapes: B batch, L tokens, S tokens that may be attended to, H heads, D features of a head, R of them placed, C of the
latent vector, M of the model.
"""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, build_backend
from ..base import BuildContext, OutProjection
from ..context import ForwardContext
from ..position.rotary import Rope
from ..qk_norm import RMS
from .base import Mixer
from .relative import refuse_other_positions

Size = Annotated[int, Field(ge=1)]


@register("mixer", "latent", source="DeepSeek-AI 2024, arXiv:2405.04434")
class Latent(Mixer):
    """c = norm(W_c x), k = [W_k c, rope(W_r x)], v = W_v c: softmax attention whose cache is c and one turned key.

    It turns ``rope`` features of each query, and of one key that the heads share, by itself: the model's position must
    be none. Feature i is paired with feature i + R/2; DeepSeek's own weights pair neighbors, which is the same up to
    a permutation. Where null, sizes are the paper's multiples of the features of a head: ``rank`` (C) 4 D, ``rope`` (R)
    D / 2; ``query_rank`` null makes queries from x directly, as in DeepSeek-V2-Lite (the larger models: 12 D).
    """

    cacheable = True
    position_hooks = ()
    supports_cross_attention = False

    def __init__(
        self,
        shape: BuildContext,
        *,
        rank: Size | None = None,
        query_rank: Size | None = None,
        rope: Annotated[int, Field(ge=2, multiple_of=2)] | None = None,
        theta: Annotated[float, Field(gt=1)] = 10_000.0,
        eps: Annotated[float, Field(gt=0)] = 1e-6,
        bias: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        backend: Annotated[ComponentConfig[AttentionBackend], Slot("attention_backend")] = component(
            "attention_backend", "sdpa"
        ),
    ):
        super().__init__()
        if shape.n_kv_heads != shape.n_heads:
            raise ValueError("latent attention makes keys and values for every head: set n_kv_heads to null")
        heads, rank, rope = shape.n_heads, rank or 4 * shape.d_head, rope or 2 * max(1, shape.d_head // 4)
        self.sizes = (shape.d_head, rope)
        self.scale, self.dropout = (shape.d_head + rope) ** -0.5, dropout
        if query_rank is None:
            self.query: nn.Module = nn.Linear(shape.d_model, heads * (shape.d_head + rope), bias=False)
        else:
            down = nn.Linear(shape.d_model, query_rank, bias)
            self.query = nn.Sequential(
                down, RMS(query_rank, eps), nn.Linear(query_rank, heads * (shape.d_head + rope), bias=False)
            )
        self.down, self.norm = nn.Linear(shape.d_model, rank, bias), RMS(rank, eps)
        self.placed_key = nn.Linear(shape.d_model, rope, bias)
        self.key = nn.Linear(rank, heads * shape.d_head, bias=False)
        self.value = nn.Linear(rank, heads * shape.d_head, bias=False)
        self.out = OutProjection(heads * shape.d_head, shape.d_model, bias)
        self.rope = Rope(replace(shape, d_head=rope), theta=theta)
        self.backend: AttentionBackend = build_backend(backend, {"dropout": dropout > 0, "value_dim": True})

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        refuse_other_positions("latent", context)
        q, q_placed = self.heads(self.query(x), sum(self.sizes)).tensor_split(self.sizes[:1], -1)
        c, k_placed = self.norm(self.down(x)).unsqueeze(1), self.placed_key(x).unsqueeze(1)  # one head for all
        q_placed, k_placed = self.rope.rotate(q_placed, k_placed, context.positions, context.positions)
        if context.cache is not None:
            c, k_placed = context.cache.extend(self, c, k_placed)
        k, v = (self.heads(up(c.squeeze(1)), self.sizes[0]) for up in (self.key, self.value))
        q, k = torch.cat([q, q_placed], -1), torch.cat([k, k_placed.expand(-1, k.size(1), -1, -1)], -1)
        y = self.backend(q, k, v, None, context, self.scale, self.dropout if self.training else 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def heads(self, x: Tensor, features: int) -> Tensor:
        """(B, L, H * features) -> (B, H, L, features)."""
        return x.view(*x.shape[:-1], -1, features).transpose(1, 2)
