"""State space models: every feature has a linear recurrent state, and the token decides what is written and read.

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

    u = silu(convolution over ``kernel_size`` tokens of W x) has ``expansion`` x M features, each with a state of
    ``state`` numbers; dt = softplus of a map through ``rank`` x M features. An expansion of 1.25 gives about as many
    parameters as attention; with the paper's 2, two mixers replace attention and feedforward. Heads and positions
    (other than those added to the embeddings) have no effect. The scan goes token by token, in float32 or better; on a
    CPU it takes no longer than the chunks of ``gla`` and ``delta``.
    """

    decayed_parameters = ()
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
        """Time steps log-uniform from 0.001 to 0.1, -A = 1, 2, ... for the features of the state, D = 1."""
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


def init_time_steps(bias: Tensor, generator: Generator) -> None:
    """Fill with biases whose softplus, the time step, is log-uniform from 0.001 to 0.1."""
    nn.init.uniform_(bias, math.log(0.001), math.log(0.1), generator=generator).exp_()
    bias.add_((-(-bias).expm1()).log())  # the inverse of softplus


def scan(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, Tensor]:
    """y_t = h_t c_t with h_t = exp(dt_t a) * h_(t-1) + dt_t u_t b_t^T.

    u and dt (B, L, F), a (F, N), b and c (B, L, N), and the initial h, if any -> y (B, L, F) and the last h (B, F, N).
    """
    dtype = u.dtype
    u, dt, a, b, c = upcast(u, dt, a, b, c)
    h = u.new_zeros(len(u), *a.shape) if initial is None else initial[0]
    run = scan_forward if u.is_meta else recurrence  # on the meta device its operations are counted one by one
    # The F features are the last axis: there are more of them than of N, and a CPU is faster with long rows.
    with full_precision(u):
        y, h, _ = run(dt * u, dt, a.mT.contiguous(), b, c, h.mT.contiguous())
    return y.to(dtype), h.mT


def scan_forward(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y_t = c_t h_t with h_t = exp(dt_t a) * h_(t-1) + b_t^T v_t.

    The states of all tokens take N times the memory of their features. Only the state at the start of each chunk of
    tokens is stored; the backward pass computes the others again. So a chunk fits into the processor's cache.
    v and dt (B, L, F), a (N, F), b and c (B, L, N), the initial h (B, N, F) -> y (B, L, F), the last h (B, N, F), and
    the h at the start of each chunk (chunks, B, N, F).
    """
    y, starts, buffers = [], [], allocate_buffers(2, h, v)
    for v_c, dt_c, b_c, c_c in chunks(h, v, dt, b, c):
        starts.append(h)
        _, states = unroll(v_c, dt_c, a, b_c, h, buffers)
        y.append((c_c.unsqueeze(-2) @ states).squeeze(-2))
        h = states[:, -1].clone()  # the others are overwritten
    return torch.cat(y, 1), h, torch.stack(starts)


def scan_backward(
    d_y: Tensor, d_h: Tensor, v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of v, dt, a, b, c and the initial h, from those of y and the last h."""
    parts = zip(chunks(d_h, d_y, v, dt, b, c), starts, strict=True)
    d_a, gradients, (*buffers, d_buffer) = torch.zeros_like(a), [], allocate_buffers(3, d_h, v)
    with full_precision(d_y):
        for (d_y_c, v_c, dt_c, b_c, c_c), h in reversed(list(parts)):
            decay, states = unroll(v_c, dt_c, a, b_c, h, buffers)
            d_c = (d_y_c.unsqueeze(-2) @ states.mT).squeeze(-2)
            d_states = torch.mul(d_y_c.unsqueeze(-2), c_c.unsqueeze(-1), out=view_start(d_buffer, v_c, h))
            d_states[:, -1] += d_h
            later, *earlier = reversed(list(zip(decay.unbind(1), d_states.unbind(1), strict=True)))
            for decay_t, d_state in earlier:
                d_state.addcmul_(*later)
                later = decay_t, d_state
            d_h = torch.mul(*later)
            # With v or d_y as a column, the matrix product would be several times slower.
            d_v = (b_c.unsqueeze(-2) @ d_states).squeeze(-2)
            d_b = (v_c.unsqueeze(-2) @ d_states.mT).squeeze(-2)
            d_log = d_states.mul_(decay)  # of the decays' logarithms, dt a, once multiplied by the state before
            d_log[:, 0] *= h
            d_log[:, 1:] *= states[:, :-1]
            d_dt = torch.mul(d_log, a, out=decay).sum(-2)
            d_a += torch.mul(d_log, dt_c.unsqueeze(-2), out=decay).sum((0, 1))
            gradients.append((d_v, d_dt, d_b, d_c))
    d_v, d_dt, d_b, d_c = (torch.cat(chunk, 1) for chunk in zip(*reversed(gradients), strict=True))
    return d_v, d_dt, d_a, d_b, d_c, d_h


# Custom operators, which torch.compile calls without tracing them. Tracing the loops over tokens took minutes, and the
# compiled code was several times slower, with gradients at 64 tokens that were wrong by up to a half.
recurrence = custom_op("ablation::recurrence", scan_forward, mutates_args=())
derivatives = custom_op("ablation::recurrence_derivatives", scan_backward, mutates_args=())


@recurrence.register_fake
def fake_recurrence(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """Tensors with the shapes of the output of ``scan_forward``, for tracing."""
    n_chunks = -(-v.size(1) // chunk_size(h))
    return torch.empty_like(v), torch.empty_like(h), h.new_empty(n_chunks, *h.shape)


@derivatives.register_fake
def fake_derivatives(d_y: Tensor, d_h: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Tensors with the shapes of the output of ``scan_backward``, for tracing."""
    return tuple(torch.empty_like(x) for x in (*inputs[:-1], d_h))


def save_for_backward(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    """Save the inputs, but for the initial h: it is the first of the states at the starts of chunks."""
    ctx.save_for_backward(*inputs[:-1], output[-1])


def backward(ctx: Any, d_y: Tensor, d_h: Tensor, _: Tensor) -> Any:
    """The backward pass as torch calls it; the states at the starts of chunks are not used, and have no gradient."""
    return derivatives(d_y, d_h, *ctx.saved_tensors)


recurrence.register_autograd(backward, setup_context=save_for_backward)


def chunk_size(h: Tensor) -> int:
    """Tokens per chunk: as many as have a megabyte of states h, but 8 to 64."""
    return min(64, max(8, 2**18 // max(1, h.numel())))


def chunks(h: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (B, L, ...) -> the chunks of each, side by side."""
    return zip(*(torch.split(x, chunk_size(h), 1) for x in tensors), strict=True)


def allocate_buffers(n: int, h: Tensor, v: Tensor) -> list[Tensor]:
    """Memory for the states of any chunk; allocating it for each chunk takes longer than computing in it."""
    return [h.new_empty(h.numel() * min(chunk_size(h), v.size(1))) for _ in range(n)]


def view_start(buffer: Tensor, v: Tensor, h: Tensor) -> Tensor:
    """The start of the buffer as (B, L, N, F)."""
    return buffer[: h.numel() * v.size(1)].view(len(h), v.size(1), *h.shape[1:])


def unroll(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, h: Tensor, buffers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The decays exp(dt_t a) of a chunk and its states h_t, both (B, L, N, F) and written into the buffers."""
    decay, states = (view_start(buffer, v, h) for buffer in buffers)
    torch.mul(dt.unsqueeze(-2), a / math.log(2), out=decay).exp2_()  # torch has a faster kernel for it than for exp
    torch.mul(v.unsqueeze(-2), b.unsqueeze(-1), out=states)
    for decay_t, state in zip(decay.unbind(1), states.unbind(1), strict=True):
        h = state.addcmul_(decay_t, h)
    return decay, states
