"""Convolutions: a weighted sum of the tokens at fixed distances before each token, with weights for every feature.

Shapes: B batch, L input tokens, S those and the tokens before them, F any features, M features of the model.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import register
from ..base import BuildContext, Linear, full_precision, upcast
from ..context import ForwardContext
from .base import RecurrentMixer, gather_tokens, tokens_first, zero_padding


class ShortConvolution(nn.Module):
    """y_t = sum over i < kernel_size of w_i * x_(t-i), plus a trained bias if ``bias``; padding is skipped."""

    decayed_parameters = ("weight",)

    def __init__(self, features: int, kernel_size: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(kernel_size, features))  # the last row is the token's own
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None

    def initialize(self, generator: Generator) -> None:
        bound = len(self.weight) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, F) -> (B, L, F); a cache holds the last kernel_size - 1 tokens."""
        n_tokens, n_before = x.size(1), len(self.weight) - 1
        padding, cache = context.padding, context.cache
        state = None if cache is None else cache.state(self)
        before = x.new_zeros(len(x), n_before, x.size(-1)) if state is None else state[0]
        order = None if padding is None else tokens_first(padding)
        x = torch.cat([before, x if order is None else gather_tokens(x, order)], 1)
        if cache is not None:
            n_new = torch.full_like(x[:, 0, 0], n_tokens, dtype=torch.long) if padding is None else padding.sum(-1)
            cache.update(self, gather_tokens(x, n_new[:, None] + torch.arange(n_before, device=x.device)))
        y = torch.stack([w * x[:, i : i + n_tokens] for i, w in enumerate(self.weight)]).sum(0)
        y = y if self.bias is None else y + self.bias
        return y if order is None else gather_tokens(y, order.argsort(-1))


@register("mixer", "convolution", source="LFM2's gated short convolution: Liquid AI 2025, arXiv:2511.23404")
class Convolution(RecurrentMixer):
    """W_out (q * (w conv (k * v))): a convolution over the last ``kernel_size`` tokens, between two gates.

    q, k, v are linear maps of the token. Each feature has its own weights w and, with ``bias``, its own bias. Heads and
    positions (other than those added to the embeddings) have no effect.
    """

    uses_heads = False

    def __init__(self, build: BuildContext, *, kernel_size: Annotated[int, Field(ge=1)] = 4, bias: bool = False):
        super().__init__(build)
        self.query = nn.Linear(build.d_model, build.d_model, bias=False)
        self.key = nn.Linear(build.d_model, build.d_model, bias=False)
        self.value = nn.Linear(build.d_model, build.d_model, bias=False)
        self.convolution = ShortConvolution(build.d_model, kernel_size, bias)
        self.out = Linear(build.d_model, build.d_model, bias=False, role="out_projection")

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        return self.out(q * self.convolution(k * v, context))


class LongFilter(nn.Module):
    """A weight for every distance and feature: a small network of the distance, times an exponential decay.

    The input of the network is the distance as a fraction of ``max_length``, with sines and cosines of it; its
    activations are sines, so that the weights of neighboring distances can differ.
    """

    decayed_parameters = ("first", "second", "last")
    rate: Tensor

    def __init__(self, features: int, width: int, max_length: int, n_waves: int = 4):
        super().__init__()
        self.max_length, self.n_waves = max_length, n_waves
        self.first = nn.Parameter(torch.zeros(2 * n_waves + 1, width))
        self.second = nn.Parameter(torch.zeros(width, width))
        self.shifts = nn.Parameter(torch.zeros(2, width))
        self.last = nn.Parameter(torch.zeros(width, features))
        # At max_length the slowest decay has reached 1/20 and the fastest e^-15, as in the authors' code.
        self.register_buffer("rate", torch.linspace(3.0, 15.0, features), persistent=False)

    def initialize(self, generator: Generator) -> None:
        for weight in (self.first, self.second, self.last):
            nn.init.normal_(weight, std=len(weight) ** -0.5, generator=generator)
        nn.init.uniform_(self.shifts, -math.pi, math.pi, generator=generator)

    def forward(self, length: int) -> Tensor:
        """Weights of the distances 0 to length - 1, (length, F)."""
        first, second, biases, last, rate = upcast(self.first, self.second, self.shifts, self.last, self.rate)
        fraction = torch.arange(length, device=rate.device).to(rate.dtype).unsqueeze(-1) / self.max_length
        angle = 2 * math.pi * fraction * torch.arange(1, self.n_waves + 1, device=rate.device)
        features = torch.cat([fraction, angle.cos(), angle.sin()], -1)
        hidden = (10 * (features @ first) + biases[0]).sin()  # 10: high frequencies, as in the paper's appendix
        hidden = (hidden @ second + biases[1]).sin()
        return hidden @ last * (-rate * fraction).exp() / math.sqrt(self.max_length)


@register("mixer", "hyena", source="Poli et al. 2023, arXiv:2302.10866")
class Hyena(RecurrentMixer):
    """W_out (q * (h conv (k * v) + d * k * v)): h is as long as the sequence, its weights are computed by a network.

    q, k, v are linear maps of the token, then convolved over ``kernel_size`` tokens. The network computes h from the
    distance, with ``width`` hidden features. Computed by fast Fourier transforms. The cache holds k * v of every token,
    and so grows with the sequence. Heads and positions (other than those added to the embeddings) have no effect.
    """

    decayed_parameters = ()
    uses_heads = False

    def __init__(
        self,
        build: BuildContext,
        *,
        kernel_size: Annotated[int, Field(ge=1)] = 3,
        width: Annotated[int, Field(ge=1)] = 32,
    ):
        super().__init__(build)
        self.query = nn.Linear(build.d_model, build.d_model, bias=False)
        self.key = nn.Linear(build.d_model, build.d_model, bias=False)
        self.value = nn.Linear(build.d_model, build.d_model, bias=False)
        self.short = ShortConvolution(3 * build.d_model, kernel_size)
        self.filter = LongFilter(build.d_model, width, build.max_length)
        self.direct = nn.Parameter(torch.ones(build.d_model))
        self.out = Linear(build.d_model, build.d_model, bias=False, role="out_projection")

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        q, k, v = self.short(torch.cat([self.query(x), self.key(x), self.value(x)], -1), context).chunk(3, -1)
        u = zero_padding(k * v, context.padding)  # the transform would spread the rounding errors of padding
        return self.out(q * (self.convolve(u, context) + self.direct * u))

    def convolve(self, u: Tensor, context: ForwardContext) -> Tensor:
        """h conv u, (B, L, M), over the tokens in the cache too; padding is skipped."""
        n_tokens, padding = u.size(1), context.padding
        if context.cache is not None:
            (u,), padding = context.cache.extend(self, u), context.cache.padding
        order = None if padding is None else tokens_first(padding)
        with full_precision(u):
            y = long_convolution(u if order is None else gather_tokens(u, order), self.filter(u.size(1))).to(u.dtype)
        return (y if order is None else gather_tokens(y, order.argsort(-1)))[:, -n_tokens:]


def long_convolution(u: Tensor, h: Tensor) -> Tensor:
    """y_t = sum over i <= t of h_i * u_(t-i): (B, S, F) and (S, F) -> (B, S, F)."""
    u, h = upcast(u, h)
    n = 2 * u.size(1)  # zeros appended, so that the end does not wrap around to the start
    return torch.fft.irfft(torch.fft.rfft(u, n, dim=1) * torch.fft.rfft(h, n, dim=0), n, dim=1)[:, : u.size(1)]
