"""State spaces: every feature drives a few slow ones, and a token chooses what of it enters and what is read.

Shapes: B batch, L tokens, F inner features, N features of the state of each, M features of the model.
"""

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from ...registry import register
from ..context import Context
from ..linear import OutProjection
from ..shape import Shape
from .convolution import ShortConvolution
from .rival import Rival, blank, full_precision, in_full


@register("mixer", "mamba", source="Gu and Dao 2023, arXiv:2312.00752")
class Mamba(Rival):
    """W_out (silu(W_r x) * (C_t h_t + D u_t)), h_t = exp(dt_t A) * h_(t-1) + dt_t B_t u_t; dt, B, C maps of the token.

    u = silu(convolution over ``taps`` tokens of W x), ``expansion`` x M features, each with a state of ``state``;
    dt = softplus of a map by way of ``rank`` x M features. An expansion of 1.25 has about the parameters of attention;
    of the paper's 2, two mixers stand for attention and feedforward. Heads and positions (other than those added to the
    embeddings) do not matter. The scan goes token by token, in float32 or better: it is slower than its rivals.
    """

    hears_heads = False

    def __init__(
        self,
        shape: Shape,
        *,
        expansion: Annotated[float, Field(gt=0)] = 1.25,
        state: Annotated[int, Field(ge=1)] = 16,
        taps: Annotated[int, Field(ge=1)] = 4,
        rank: Annotated[float, Field(gt=0, le=1)] = 1 / 16,
    ):
        super().__init__(shape)
        width = max(8, 8 * round(expansion * shape.d_model / 8))
        self.sizes = [math.ceil(rank * shape.d_model), state, state]
        self.up = nn.Linear(shape.d_model, width, bias=False)
        self.gate = nn.Linear(shape.d_model, width, bias=False)
        self.convolution = ShortConvolution(width, taps, bias=True)
        self.choose = nn.Linear(width, sum(self.sizes), bias=False)
        self.time = nn.Linear(self.sizes[0], width, bias=False)
        self.step = nn.Parameter(torch.zeros(width))
        self.log_rate = nn.Parameter(torch.zeros(width, state))  # log(-A)
        self.direct = nn.Parameter(torch.ones(width))  # D
        self.out = OutProjection(width, shape.d_model, bias=False)

    @torch.no_grad()
    def initialise(self, generator: Generator) -> None:
        draw_time_steps(self.step, generator)
        self.log_rate.copy_(torch.arange(1, self.log_rate.size(1) + 1).log().expand_as(self.log_rate))
        self.direct.fill_(1.0)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        u = F.silu(self.convolution(self.up(x), context))
        dt, b, c = torch.split(self.choose(u), self.sizes, -1)
        dt = blank(F.softplus(self.time(dt) + self.step), context.padding)
        y, state = scan(u, dt, -self.log_rate.exp(), b, c, self.state(context))
        self.keep(context, state)
        return self.out(F.silu(self.gate(x)) * (y + self.direct * u))


def draw_time_steps(shift: Tensor, generator: Generator) -> None:
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
    u, dt, a, b, c = in_full(u, dt, a, b, c)
    h = u.new_zeros(len(u), *a.shape) if before is None else before[0]
    with full_precision(u):
        y, h = Recurrence.apply(dt * u, dt, a, b, c, h)  # type: ignore[no-untyped-call]
    return y.to(dtype), h


class Recurrence(torch.autograd.Function):
    """y_t = h_t c_t with h_t = exp(dt_t a) * h_(t-1) + v_t b_t^T, and its derivatives.

    The h of all tokens are many: N numbers for each of their features. Only that before each chunk of tokens is kept,
    the others are made again on the way back, so that all of it happens within a processor's cache.
    v and dt (B, L, F), a (F, N), b and c (B, L, N), the h before (B, F, N) -> y (B, L, F) and the last h (B, F, N).
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, before = [], []
        for v_c, dt_c, b_c, c_c in zip(*map(chunks, (v, dt, b, c)), strict=True):
            before.append(h)
            _, states = unroll(v_c, dt_c, a, b_c, h)
            y.append((states @ c_c.unsqueeze(-1)).squeeze(-1))
            h = states[:, -1].clone()  # and lets go of the others
        ctx.save_for_backward(v, dt, a, b, c, *before)
        return torch.cat(y, 1), h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_h: Tensor) -> tuple[Tensor, ...]:
        v, dt, a, b, c, *before = ctx.saved_tensors
        parts = zip(*map(chunks, (d_y, v, dt, b, c)), before, strict=True)
        d_a, gradients = torch.zeros_like(a), []
        with full_precision(d_y):
            for d_y_c, v_c, dt_c, b_c, c_c, h in reversed(list(parts)):
                kept, states = unroll(v_c, dt_c, a, b_c, h)
                d_c = (d_y_c.unsqueeze(-2) @ states).squeeze(-2)
                d_states = d_y_c.unsqueeze(-1) * c_c.unsqueeze(-2)
                for keep, d_state in zip(reversed(kept.unbind(1)), reversed(d_states.unbind(1)), strict=True):
                    d_h = d_state.add_(d_h) * keep
                d_v = (d_states @ b_c.unsqueeze(-1)).squeeze(-1)
                d_b = (v_c.unsqueeze(-2) @ d_states).squeeze(-2)
                d_log = d_states.mul_(kept)  # of the decays' logarithms, dt a: times the state that each fades
                d_log[:, 0] *= h
                d_log[:, 1:] *= states[:, :-1]
                d_dt = torch.einsum("blfn,fn->blf", d_log, a)
                d_a += torch.einsum("blfn,blf->fn", d_log, dt_c)
                gradients.append((d_v, d_dt, d_b, d_c))
        d_v, d_dt, d_b, d_c = (torch.cat(chunk, 1) for chunk in zip(*reversed(gradients), strict=True))
        return d_v, d_dt, d_a, d_b, d_c, d_h


def chunks(x: Tensor) -> tuple[Tensor, ...]:
    """(B, L, ...) -> eight tokens at a time."""
    return torch.split(x, 8, 1)


def unroll(v: Tensor, dt: Tensor, a: Tensor, b: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The decays exp(dt_t a) of a chunk and its states h_t, both (B, L, F, N)."""
    kept = (dt.unsqueeze(-1) * a).exp_()
    states = v.unsqueeze(-1) * b.unsqueeze(-2)
    for keep, state in zip(kept.unbind(1), states.unbind(1), strict=True):
        h = state.addcmul_(keep, h)
    return kept, states
