"""The delta rule: the value that the state holds for a key is corrected by its error, instead of added to.

Shapes: B batch, L tokens, H heads, D features of a query or key, E of a value, M features of the model.
"""

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import register
from ..base import BuildContext, Linear, full_precision, upcast
from ..context import ForwardContext
from .base import RecurrentMixer, merge_heads, split_heads, zero_padding
from .convolution import ShortConvolution
from .linear_attention import decayed_scores
from .state_space import init_time_steps


class DeltaMixer(RecurrentMixer):
    """Base of the delta rules: maps to queries, keys, values and b, and the convolution after them."""

    def __init__(
        self,
        build: BuildContext,
        d_key: int,
        *,
        kernel_size: Annotated[int, Field(ge=1)] | None = 4,
        beta_scale: Annotated[float, Field(gt=0, le=2)] = 1.0,
    ):
        super().__init__(build)
        self.n_heads, self.beta_scale = build.n_heads, beta_scale
        self.sizes = [build.n_heads * width for width in (d_key, d_key, build.d_head)]
        self.query, self.key, self.value = (nn.Linear(build.d_model, size, bias=False) for size in self.sizes)
        self.convolution = None if kernel_size is None else ShortConvolution(sum(self.sizes), kernel_size)
        self.correction = nn.Linear(build.d_model, build.n_heads, bias=False)

    def project(self, x: Tensor, context: ForwardContext) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled queries and unit keys (B, H, L, D), values (B, H, L, E) and b (B, H, L, 1) of the tokens (B, L, M)."""
        qkv = torch.cat([self.query(x), self.key(x), self.value(x)], -1)
        qkv = F.silu(qkv if self.convolution is None else self.convolution(qkv, context))
        q, k, v = (split_heads(tensor, self.n_heads) for tensor in torch.split(qkv, self.sizes, -1))
        b = split_heads(zero_padding(self.beta_scale * self.correction(x).sigmoid(), context.padding), self.n_heads)
        return unit_length(q) * q.size(-1) ** -0.5, unit_length(k), v, b


@register(
    "mixer",
    "delta",
    source="Schlag et al. 2021, arXiv:2102.11174; unit keys, convolution, norm: Yang et al. 2024, arXiv:2406.06484",
)
class DeltaNet(DeltaMixer):
    """W_out norm(q_t^T S_t), S_t = S_(t-1) + b_t k_t (v_t - S_(t-1)^T k_t)^T: new values replace old ones.

    q, k, v are linear maps of the token, then convolved over ``kernel_size`` tokens (null: no convolution), then silu;
    q and k are scaled to length 1. b = ``beta_scale`` * sigmoid(W x): above 1 the state can change its sign, which
    counting modulo 2 needs (Grazzi et al. 2024, arXiv:2411.12537). The norm is RMS over each head. Positions have an
    effect only where they are added to the embeddings.
    """

    def __init__(self, build: BuildContext, **options: Any):
        super().__init__(build, build.d_head, **options)
        self.norm = nn.RMSNorm(build.d_head, eps=1e-5)
        self.out = Linear(self.sizes[-1], build.d_model, bias=False, role="out_projection")

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v, b = self.project(x, context)
        y, state = delta_rule(q, k, v, b, torch.zeros_like(b), self.state(context))
        self.update_state(context, state)
        return self.out(merge_heads(self.norm(y.to(self.norm.weight.dtype))))


@register("mixer", "gated_delta", source="Yang et al. 2024, arXiv:2412.06464")
class GatedDelta(DeltaMixer):
    """W_out (silu(W_r x) * norm(q_t^T S_t)), S_t = d(a_t S_(t-1)), d the delta rule, as in Qwen3-Next.

    a = exp(-A softplus(W x + c)) per head, A and c trained; d, q, k, v and ``kernel_size`` as in ``delta``. Queries and
    keys have ``key_expansion`` x M features, fewer than M to make up for the parameters of the gate W_r. Positions have
    an effect only where they are added to the embeddings.
    """

    decayed_parameters = ()

    def __init__(self, build: BuildContext, *, key_expansion: Annotated[float, Field(gt=0)] = 0.5, **options: Any):
        super().__init__(build, max(1, round(key_expansion * build.d_head)), **options)
        self.forget = nn.Linear(build.d_model, build.n_heads, bias=False)
        self.log_rate = nn.Parameter(torch.zeros(build.n_heads))  # log A
        self.step = nn.Parameter(torch.zeros(build.n_heads))  # c
        self.gate = nn.Linear(build.d_model, self.sizes[-1], bias=False)
        self.norm = nn.RMSNorm(build.d_head, eps=1e-6)
        self.out = Linear(self.sizes[-1], build.d_model, bias=False, role="out_projection")

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        """Rates of decay uniform from 1 to 16, time steps log-uniform from 0.001 to 0.1."""
        nn.init.uniform_(self.log_rate, 1.0, 16.0, generator=generator).log_()
        init_time_steps(self.step, generator)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v, b = self.project(x, context)
        log_a = -self.log_rate.exp() * F.softplus(self.forget(x) + self.step)
        log_a = split_heads(zero_padding(log_a, context.padding), self.n_heads)
        y, state = delta_rule(q, k, v, b, log_a, self.state(context))
        self.update_state(context, state)
        return self.out(F.silu(self.gate(x)) * merge_heads(self.norm(y.to(self.norm.weight.dtype))))


def unit_length(x: Tensor) -> Tensor:
    """x divided by its length along the last axis; 0 stays 0."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, log_decay: Tensor, initial: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = q_t^T S_t with S_t = R + b_t k_t (v_t - R^T k_t)^T, R = exp(g_t) S_(t-1), g the ``log_decay``, at most 0.

    Queries and keys (B, H, L, D), values (B, H, L, E), b and g (B, H, L, 1), and the initial state S, if any -> y
    (B, H, L, E) and the last S (B, H, D, E).

    Within a chunk the corrections u_t = b_t (v_t - R^T k_t) depend on those before them: a triangular system of
    equations, solved at once. With the corrections in the place of values it is linear attention. S is handed from
    chunk to chunk.
    """
    dtype = v.dtype
    q, k, v, b, log_decay = upcast(q, k, v, b, log_decay)
    state = v.new_zeros(*k.shape[:2], k.size(-1), v.size(-1)) if initial is None else initial[0]
    y = []
    with full_precision(q):
        for q_c, k_c, v_c, b_c, g_c in zip(
            *(torch.split(tensor, 64, -2) for tensor in (q, k, v, b, log_decay)), strict=True
        ):
            decay = g_c.cumsum(-2)  # since the start of the chunk, as a logarithm
            error = b_c * (v_c - (k_c * decay.exp()) @ state)
            # Only the entries below the diagonal are read; those on it are taken to be 1.
            u = torch.linalg.solve_triangular(
                b_c * decayed_scores(k_c, k_c, decay), error, upper=False, unitriangular=True
            )
            y.append((q_c * decay.exp()) @ state + decayed_scores(q_c, k_c, decay) @ u)
            end = decay[..., -1:, :]
            state = end.exp() * state + (k_c * (end - decay).exp()).mT @ u
    return torch.cat(y, -2).to(dtype), state
