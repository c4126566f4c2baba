"""State spaces: every feature drives a few slow ones, and a token chooses what of it enters and what is read.

Shapes: B batch, L tokens, F inner features, N features of the state of each, M features of the model.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

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
    with full_precision(u):
        # Taken apart at once: an index per token would fill a gradient of the whole for each.
        kept = (dt.unsqueeze(-1) * a).exp().unbind(1)
        new = ((dt * u).unsqueeze(-1) * b.unsqueeze(-2)).unbind(1)
        h = torch.zeros_like(new[0]) if before is None else before[0]
        states = []
        for keep, add in zip(kept, new, strict=True):
            h = torch.addcmul(add, keep, h)
            states.append(h)
        y = (torch.stack(states, 1) @ c.unsqueeze(-1)).squeeze(-1)
    return y.to(dtype), h
