"""State spaces: every feature drives a few slow ones, and a token chooses what of it enters and what is read.

Shapes: B batch, L tokens, F inner features, N features of the state of each, M features of the model.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.library import custom_op

from ...registry import register
from ..base import BuildContext, Linear, full_precision, upcast
from ..context import ForwardContext
from .base import RecurrentMixer, zero_padding
from .convolution import ShortConvolution


@register("mixer", "mamba", source="Gu and Dao 2023, arXiv:2312.00752")
class Mamba(RecurrentMixer):
    """W_out (silu(W_r x) * (C_t h_t + D u_t)), h_t = exp(dt_t A) * h_(t-1) + dt_t B_t u_t; dt, B, C maps of the token.

    u = silu(convolution over ``kernel_size`` tokens of W x), ``expansion`` x M features, each with a state of ``state``;
    dt = softplus of a map by way of ``rank`` x M features. An expansion of 1.25 has about the parameters of attention;
    of the paper's 2, two mixers stand for attention and feedforward. Heads and positions (other than those added to the
    embeddings) do not matter. The scan goes token by token, in float32 or better; on a CPU it takes no longer than the
    chunks of ``gla`` and ``delta``.
    """

    uses_heads = False

    def __init__(
        self,
        build: BuildContext,
        *,
        expansion: Annotated[float, Field(gt=0)] = 1.25,
        state: Annotated[int, Field(ge=1)] = 16,
        kernel_size: Annotated[int, Field(ge=1)] = 4,
        rank: Annotated[float, Field(gt=0, le=1)] = 1 / 16,
    ):
        super().__init__(build)
        width = max(8, 8 * round(expansion * build.d_model / 8))
        self.sizes = [math.ceil(rank * build.d_model), state, state]
        self.up = nn.Linear(build.d_model, width, bias=False)
        self.gate = nn.Linear(build.d_model, width, bias=False)
        self.convolution = ShortConvolution(width, kernel_size, bias=True)
        self.choose = nn.Linear(width, sum(self.sizes), bias=False)
        self.time = nn.Linear(self.sizes[0], width, bias=False)
        self.step = nn.Parameter(torch.zeros(width))
        self.log_rate = nn.Parameter(torch.zeros(width, state))  # log(-A)
        self.direct = nn.Parameter(torch.ones(width))  # D
        self.out = Linear(width, build.d_model, bias=False, role="out_projection")

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        init_time_steps(self.step, generator)
        self.log_rate.copy_(torch.arange(1, self.log_rate.size(1) + 1).log().expand_as(self.log_rate))
        self.direct.fill_(1.0)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        u = F.silu(self.convolution(self.up(x), context))
        dt, b, c = torch.split(self.choose(u), self.sizes, -1)
        dt = zero_padding(F.softplus(self.time(dt) + self.step), context.padding)
        y, state = scan(u, dt, -self.log_rate.exp(), b, c, self.state(context))
        self.update_state(context, state)
        return self.out(F.silu(self.gate(x)) * (y + self.direct * u))


def init_time_steps(shift: Tensor, generator: Generator) -> None:
    """Fill with what softplus makes steps of, spread evenly in their logarithm from 0.001 to 0.1."""
    nn.init.uniform_(shift, math.log(0.001), math.log(0.1), generator=generator).exp_()
    shift.add_((-(-shift).expm1()).log())  # the inverse of softplus


def scan(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, before: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = h_t c_t with h_t = exp(dt_t a) * h_(t-1) + dt_t u_t b_t^T.

    u and dt (B, L, F), a (F, N), b and c (B, L, N), and the h before, if any -> y (B, L, F) and the last h (B, F, N).
    """
    dtype = u.dtype
    u, dt, a, b, c = upcast(u, dt, a, b, c)
    h = u.new_zeros(len(u), *a.shape) if before is None else before[0]
    run = unrolled if u.is_meta else recurrence  # where nothing is computed, its operations are to be counted
    # Features come last within: they are more than those of their states, so rows are longer, and a CPU faster.
    with full_precision(u):
        y, h, _ = run(dt * u, dt, a.mT.contiguous(), b, c, h.mT.contiguous())
    return y.to(dtype), h.mT


def unrolled(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y_t = c_t h_t with h_t = exp(dt_t a) * h_(t-1) + b_t^T v_t.

    The h of all tokens are many: N numbers for each of their features. Only that before each chunk of tokens is kept,
    the others are made again on the way back, so that all of it happens within a processor's cache.
    v and dt (B, L, F), a (N, F), b and c (B, L, N), the h before (B, N, F) -> y (B, L, F), the last h (B, N, F), and
    the h before each chunk.
    """
    y, before, buffers = [], [], allocate_buffers(2, h, v)
    for v_c, dt_c, b_c, c_c in chunks(h, v, dt, b, c):
        before.append(h)
        _, states = unroll(v_c, dt_c, a, b_c, h, buffers)
        y.append((c_c.unsqueeze(-2) @ states).squeeze(-2))
        h = states[:, -1].clone()  # and lets go of the others
    return torch.cat(y, 1), h, torch.stack(before)


def differentiated(
    d_y: Tensor, d_h: Tensor, v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, before: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The derivatives by v, dt, a, b, c and the h before, of those by y and the last h."""
    parts = zip(chunks(d_h, d_y, v, dt, b, c), before, strict=True)
    d_a, gradients, (*buffers, of_states) = torch.zeros_like(a), [], allocate_buffers(3, d_h, v)
    with full_precision(d_y):
        for (d_y_c, v_c, dt_c, b_c, c_c), h in reversed(list(parts)):
            kept, states = unroll(v_c, dt_c, a, b_c, h, buffers)
            d_c = (d_y_c.unsqueeze(-2) @ states.mT).squeeze(-2)
            d_states = torch.mul(d_y_c.unsqueeze(-2), c_c.unsqueeze(-1), out=view_start(of_states, v_c, h))
            d_states[:, -1] += d_h
            later, *others = reversed(list(zip(kept.unbind(1), d_states.unbind(1), strict=True)))
            for keep, d_state in others:
                d_state.addcmul_(*later)
                later = keep, d_state
            d_h = torch.mul(*later)
            # As a column, v or d_y would make a product of matrices several times slower.
            d_v = (b_c.unsqueeze(-2) @ d_states).squeeze(-2)
            d_b = (v_c.unsqueeze(-2) @ d_states.mT).squeeze(-2)
            d_log = d_states.mul_(kept)  # of the decays' logarithms, dt a: times the state that each fades
            d_log[:, 0] *= h
            d_log[:, 1:] *= states[:, :-1]
            d_dt = torch.mul(d_log, a, out=kept).sum(-2)
            d_a += torch.mul(d_log, dt_c.unsqueeze(-2), out=kept).sum((0, 1))
            gradients.append((d_v, d_dt, d_b, d_c))
    d_v, d_dt, d_b, d_c = (torch.cat(chunk, 1) for chunk in zip(*reversed(gradients), strict=True))
    return d_v, d_dt, d_a, d_b, d_c, d_h


# Operators of their own: torch.compile calls them as they are. Traced, their loops over tokens would take it minutes,
# and what it made of them was several times slower, with gradients at 64 tokens that were up to half off.
recurrence = custom_op("ablation::recurrence", unrolled, mutates_args=())
derivatives = custom_op("ablation::recurrence_derivatives", differentiated, mutates_args=())


@recurrence.register_fake
def fake_recurrence(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """Tensors of the shapes that ``unrolled`` gives, for who traces it."""
    n_chunks = -(-v.size(1) // chunk_size(h))
    return torch.empty_like(v), torch.empty_like(h), h.new_empty(n_chunks, *h.shape)


@derivatives.register_fake
def fake_derivatives(d_y: Tensor, d_h: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Tensors of the shapes that ``differentiated`` gives, for who traces it."""
    return tuple(torch.empty_like(x) for x in (*inputs[:-1], d_h))


def keep_for_derivatives(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    """All but the h before, which is that of the first chunk."""
    ctx.save_for_backward(*inputs[:-1], output[-1])


def differentiate(ctx: Any, d_y: Tensor, d_h: Tensor, _: Tensor) -> Any:
    """What torch calls on the way back; nobody uses what is kept, so that it has no derivative."""
    return derivatives(d_y, d_h, *ctx.saved_tensors)


recurrence.register_autograd(differentiate, setup_context=keep_for_derivatives)


def chunk_size(h: Tensor) -> int:
    """As many tokens as have a megabyte of states h, but 8 to 64."""
    return min(64, max(8, 2**18 // max(1, h.numel())))


def chunks(h: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (B, L, ...), some tokens of each at a time."""
    return zip(*(torch.split(x, chunk_size(h), 1) for x in tensors), strict=True)


def allocate_buffers(n: int, h: Tensor, v: Tensor) -> list[Tensor]:
    """What the states of any chunk fit in: new memory for each chunk costs more than what is computed in it."""
    return [h.new_empty(h.numel() * min(chunk_size(h), v.size(1))) for _ in range(n)]


def view_start(buffer: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """The first of it, as (B, L, N, F)."""
    return buffer[: h.numel() * v.size(1)].view(len(h), v.size(1), *h.shape[1:])


def unroll(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, h: Tensor, buffers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The decays exp(dt_t a) of a chunk and its states h_t, both (B, L, N, F), within these buffers."""
    kept, states = (view_start(buffer, v, h) for buffer in buffers)
    torch.mul(dt.unsqueeze(-2), a / math.log(2), out=kept).exp2_()  # torch has a faster kernel for it than for exp
    torch.mul(v.unsqueeze(-2), b.unsqueeze(-1), out=states)
    for keep, state in zip(kept.unbind(1), states.unbind(1), strict=True):
        h = state.addcmul_(keep, h)
    return kept, states
