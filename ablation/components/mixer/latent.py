"""Latent attention: keys and values of all heads are computed from one small vector per token.

Shapes: B batch, L tokens, S tokens that may be attended to, H heads, D features of a head, R of them rotated, C of the
latent vector, M of the model.
"""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..attention_backend import AttentionBackend, AttentionInputs, build_backend
from ..base import BuildContext, Linear
from ..context import ForwardContext
from ..position.rotary import Rope
from ..qk_norm import RMS
from .base import Mixer, merge_heads, split_heads
from .relative import check_position

Size = Annotated[int, Field(ge=1)]


@register("mixer", "latent", source="DeepSeek-AI 2024, arXiv:2405.04434")
class Latent(Mixer):
    """c = norm(W_c x), k = [W_k c, rope(W_r x)], v = W_v c: softmax attention whose cache is c and one rotated key.

    It rotates ``rope`` features of each query, and of one key that the heads share, itself: the model's position must
    be none. Feature i is paired with feature i + R/2; DeepSeek's own weights pair neighbors, which is the same up to
    a permutation. Where null, sizes are the paper's multiples of the features of a head: ``rank`` (C) 4 D, ``rope`` (R)
    D / 2; ``query_rank`` null computes queries from x directly, as in DeepSeek-V2-Lite (the larger models: 12 D).
    """

    cacheable = True
    position_hooks = ()
    supports_cross_attention = False

    def __init__(
        self,
        build: BuildContext,
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
        if build.n_kv_heads != build.n_heads:
            raise ValueError("latent attention computes keys and values for every head: set n_kv_heads to null")
        heads = self.n_heads = build.n_heads
        rank, rope = rank or 4 * build.d_head, rope or 2 * max(1, build.d_head // 4)
        self.sizes = (build.d_head, rope)
        self.scale, self.dropout = (build.d_head + rope) ** -0.5, dropout
        if query_rank is None:
            self.query: nn.Module = nn.Linear(build.d_model, heads * (build.d_head + rope), bias=False)
        else:
            down = nn.Linear(build.d_model, query_rank, bias)
            self.query = nn.Sequential(
                down, RMS(query_rank, eps), nn.Linear(query_rank, heads * (build.d_head + rope), bias=False)
            )
        self.down, self.norm = nn.Linear(build.d_model, rank, bias), RMS(rank, eps)
        self.placed_key = nn.Linear(build.d_model, rope, bias)
        self.key = nn.Linear(rank, heads * build.d_head, bias=False)
        self.value = nn.Linear(rank, heads * build.d_head, bias=False)
        self.out = Linear(heads * build.d_head, build.d_model, bias, role="out_projection")
        self.rope = Rope(replace(build, d_head=rope), theta=theta)
        self.backend = build_backend(backend, {"dropout": dropout > 0, "value_dim": True})

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        check_position(self, context)
        q, q_rope = split_heads(self.query(x), self.n_heads).tensor_split(self.sizes[:1], -1)
        c, k_rope = self.norm(self.down(x)).unsqueeze(1), self.placed_key(x).unsqueeze(1)  # one head for all
        q_rope, k_rope = self.rope.rotate(q_rope, k_rope, context.positions, context.positions)
        c, k_rope = context.extend_cache(self, c, k_rope)
        k, v = (split_heads(up(c.squeeze(1)), self.n_heads) for up in (self.key, self.value))
        q, k = torch.cat([q, q_rope], -1), torch.cat([k, k_rope.expand(-1, k.size(1), -1, -1)], -1)
        inputs = AttentionInputs(
            q,
            k,
            v,
            mask=context.mask,
            causal=context.causal,
            unmasked=context.unmasked,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out(merge_heads(self.backend(inputs)))
