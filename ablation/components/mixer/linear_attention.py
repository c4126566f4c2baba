"""Linear attention: without the softmax the state is one matrix per head, of fixed size.

Shapes: B batch, L tokens, H heads, D features of a query or key, E of a value, M features of the model.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..base import BuildContext, Linear, full_precision, upcast
from ..context import ForwardContext
from .base import RecurrentMixer, merge_heads, split_heads, zero_padding

FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x) + 1,
    "relu": F.relu,
}


@register("mixer", "linear_attention", source="Katharopoulos et al. 2020, arXiv:2006.16236")
class LinearAttention(RecurrentMixer):
    """y_t = q_t^T S_t / q_t^T z_t with S_t = S_(t-1) + k_t v_t^T, z_t = z_(t-1) + k_t; q, k = f(W x).

    ``feature`` is f (elu: elu + 1). ``normalize`` off leaves out the division, without which y grows with the length.
    ``decay`` multiplies S and z by 1 - 2^-(5 + h) per token in head h = 0, 1, ..., as in RetNet (Sun et al. 2023,
    arXiv:2307.08621). Positions have an effect only where they are added to the embeddings.
    """

    log_decay: Tensor

    def __init__(
        self,
        build: BuildContext,
        *,
        feature: Literal["elu", "relu"] = "elu",
        normalize: bool = True,
        decay: bool = False,
    ):
        super().__init__(build)
        self.n_heads, self.normalize, self.feature = build.n_heads, normalize, FEATURES[feature]
        self.scale = build.d_head**-0.5
        self.query = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.key = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.value = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.out = Linear(build.n_heads * build.d_head, build.d_model, bias=False, role="out_projection")
        factor = 1 - 2.0 ** -(5 + torch.arange(build.n_heads)) if decay else torch.ones(build.n_heads)
        self.register_buffer("log_decay", factor.log(), persistent=False)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.feature(self.query(x)) * self.scale, self.feature(self.key(x)), self.value(x)
        k, log_decay = (zero_padding(y, context.padding) for y in (k, self.log_decay.expand(*x.shape[:2], -1)))
        q, k, v, log_decay = (split_heads(tensor, self.n_heads) for tensor in (q, k, v, log_decay))
        if self.normalize:  # z is one more column of S, whose value is always 1
            v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
        y, state = gated_linear_recurrence(q, k, v, log_decay, self.state(context))
        self.update_state(context, state)
        if self.normalize:
            y = y[..., :-1] / (y[..., -1:] + 1e-6)
        return self.out(merge_heads(y))


@register("mixer", "gla", source="Yang et al. 2023, arXiv:2312.06635")
class GatedLinearAttention(RecurrentMixer):
    """W_out (silu(W_r x) * norm(q_t^T S_t)), S_t = diag(a_t) S_(t-1) + k_t v_t^T: each key feature has its own decay.

    a = sigmoid(W2 W1 x + b)^(1 / ``temperature``), W1 down to ``rank`` features; with a high temperature S decays
    slowly. Queries and keys have ``key_expansion`` x M features, fewer than M to make up for the parameters of the gate
    W_r. The norm is RMS over each head. Positions have an effect only where they are added to the embeddings.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        key_expansion: Annotated[float, Field(gt=0)] = 0.5,
        rank: Annotated[int, Field(ge=1)] = 16,
        temperature: Annotated[float, Field(gt=0)] = 16.0,
    ):
        super().__init__(build)
        self.n_heads, self.temperature = build.n_heads, temperature
        d_key = max(1, round(key_expansion * build.d_head))
        self.scale = d_key**-0.5
        self.query = nn.Linear(build.d_model, build.n_heads * d_key, bias=False)
        self.key = nn.Linear(build.d_model, build.n_heads * d_key, bias=False)
        self.value = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.forget = nn.Sequential(nn.Linear(build.d_model, rank, bias=False), nn.Linear(rank, build.n_heads * d_key))
        self.gate = nn.Linear(build.d_model, build.n_heads * build.d_head, bias=False)
        self.norm = nn.RMSNorm(build.d_head, eps=1e-5)
        self.out = Linear(build.n_heads * build.d_head, build.d_model, bias=False, role="out_projection")

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.query(x) * self.scale, zero_padding(self.key(x), context.padding), self.value(x)
        log_decay = zero_padding(F.logsigmoid(self.forget(x)) / self.temperature, context.padding)
        q, k, v, log_decay = (split_heads(tensor, self.n_heads) for tensor in (q, k, v, log_decay))
        y, state = gated_linear_recurrence(q, k, v, log_decay, self.state(context))
        self.update_state(context, state)
        return self.out(F.silu(self.gate(x)) * merge_heads(self.norm(y.to(self.norm.weight.dtype))))


def gated_linear_recurrence(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = q_t^T S_t with S_t = exp(g_t) * S_(t-1) + k_t v_t^T, g the ``log_decay``, at most 0.

    Queries and keys (B, H, L, D), values (B, H, L, E), g (B, H, L, D), or (B, H, L, 1) for all features of a head, and
    the initial state S, if any -> y (B, H, L, E) and the last S (B, H, D, E).

    Within a chunk all pairs of tokens are computed at once; S is handed from chunk to chunk. No exponent is above 0.
    """
    dtype = v.dtype
    q, k, v, log_decay = upcast(q, k, v, log_decay)
    state = v.new_zeros(*k.shape[:2], k.size(-1), v.size(-1)) if initial is None else initial[0]
    size = 64 if log_decay.size(-1) == 1 else 16  # a decay per feature takes D times the memory
    y = []
    with full_precision(q):
        for q_c, k_c, v_c, g_c in zip(*(torch.split(tensor, size, -2) for tensor in (q, k, v, log_decay)), strict=True):
            decay = g_c.cumsum(-2)  # since the start of the chunk, as a logarithm
            y.append((q_c * decay.exp()) @ state + decayed_scores(q_c, k_c, decay) @ v_c)
            end = decay[..., -1:, :]
            state = end.exp().mT * state + (k_c * (end - decay).exp()).mT @ v_c
    return torch.cat(y, -2).to(dtype), state


def decayed_scores(q: Tensor, k: Tensor, decay: Tensor) -> Tensor:
    """sum over d of q_td k_sd exp(c_td - c_sd) for s <= t, else 0, with c the summed ``decay``: (B, H, L, L)."""
    future = torch.ones(q.size(-2), q.size(-2), dtype=torch.bool, device=q.device).triu(1)
    if decay.size(-1) == 1:
        return q @ k.mT * (decay - decay.mT).masked_fill(future, float("-inf")).exp()
    factor = (decay.unsqueeze(-2) - decay.unsqueeze(-3)).masked_fill(future.unsqueeze(-1), float("-inf")).exp()
    return (q.unsqueeze(-2) * factor * k.unsqueeze(-3)).sum(-1)
