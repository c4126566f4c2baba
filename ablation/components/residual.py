"""Residual: how the output of a sublayer is added to the residual stream, or to several of them.

Of several streams a sublayer reads a mixture, and its output is added to each with a weight. All streams start as
copies of the input of the first block, and the output of the last block is their mean. The papers take the sum: before
a last norm that is the same, and where a block has none the mean is as large as a single stream.

Shapes: B batch, L tokens, M features of the model; N streams, where there are several: (B, L, N, M).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext, full_precision


class Residual(nn.Module):
    """Base of the residuals, with one stream (B, L, M); each sublayer has a residual of its own."""

    keeps_stream: ClassVar[bool] = True
    """Whether what is added to goes on."""

    def __init__(self, build: BuildContext):
        super().__init__()

    def expand(self, x: Tensor) -> Tensor:
        """The input of the first block (B, L, M) -> the stream. Called once, on the first sublayer's residual."""
        return x

    def read(self, x: Tensor) -> Tensor:
        """The stream -> the sublayer's input (B, L, M)."""
        return x

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y (B, L, M) -> the stream."""
        raise NotImplementedError

    def reduce(self, x: Tensor) -> Tensor:
        """The stream -> the output of the last block (B, L, M). Called once, on the last sublayer's residual."""
        return x


@register("residual", "plain", source="He et al. 2015, arXiv:1512.03385")
class Plain(Residual):
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@register("residual", "none", source="without it, Dong et al. 2021, arXiv:2103.03404, and He et al. 2015")
class NoResidual(Residual):
    """y: nothing goes around the sublayer, whose output takes the place of its input."""

    keeps_stream = False

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


@register("residual", "scaled", source="Szegedy et al. 2016, arXiv:1602.07261")
class Scaled(Residual):
    """x + alpha y: the sublayer's output times a fixed number, 0.1 to 0.3 in Inception, 0.22 in Granite."""

    def __init__(self, build: BuildContext, *, alpha: Annotated[float, Field(gt=0)] = 0.2):
        super().__init__(build)
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.alpha * y


@register("residual", "rezero", source="Bachlechner et al. 2020, arXiv:2003.04887")
class ReZero(Residual):
    """x + a y: one trained number per sublayer, initialized to ``init_value``; at 0 the model starts as the identity.

    Initialized to 0, only a gets a gradient in the first step and the sublayers none. Meant for models without norms.
    """

    decayed_parameters = ()

    def __init__(self, build: BuildContext, *, init_value: float = 0.0):
        super().__init__(build)
        self.share = nn.Parameter(torch.tensor(init_value))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y


@register("residual", "layer_scale", source="Touvron et al. 2021, arXiv:2103.17239")
class LayerScale(Residual):
    """x + a * y: one trained number per feature and sublayer, initialized to ``init_value``."""

    decayed_parameters = ()

    def __init__(self, build: BuildContext, *, init_value: float = 1e-5):
        super().__init__(build)
        self.share = nn.Parameter(torch.full((build.d_model,), init_value))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y


class Streams(Residual):
    """Base of the residuals with N streams, (B, L, N, M)."""

    def __init__(self, build: BuildContext, streams: int):
        super().__init__(build)
        self.streams = streams

    def expand(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-2).expand(*x.shape[:-1], self.streams, -1)

    def reduce(self, x: Tensor) -> Tensor:
        return x.mean(-2)


@register("residual", "hyper_connections", source="Zhu et al. 2024, arXiv:2409.19606")
class HyperConnections(Streams):
    """A^T X + b f(a^T X): X has ``streams`` rows; a, A, b are trained, and if ``dynamic`` depend on the token.

    (a, A, b) = S + s * tanh(norm(X) W), or S alone. S is initialized so that a reads one stream, each sublayer the next
    one, A is the identity and b writes 1 to all; W to 0, s to 0.01 (one for a and A, one for b). So the model starts
    as that of ``plain``. The norm is a LayerNorm of each stream. Weight decay applies to W, not to S. With more streams
    than sublayers some streams stay equal.
    """

    decayed_parameters = ("map",)

    def __init__(self, build: BuildContext, *, streams: Annotated[int, Field(ge=1)] = 4, dynamic: bool = True):
        super().__init__(build, streams)
        self.dynamic = dynamic
        n = streams
        read = torch.eye(n)[:, [build.sublayer % n]]
        initial = torch.cat([read, torch.eye(n), torch.ones(n, 1)], 1)
        self.static = nn.Parameter(initial.flatten())  # flat: `decay_on: matrices` leaves it alone too
        self.register_parameter("map", None)
        if dynamic:
            self.norm = nn.LayerNorm(build.d_model)
            self.map = nn.Parameter(torch.zeros(build.d_model, n + 2))
            self.scale = nn.Parameter(torch.full((2,), 0.01))

    def read(self, x: Tensor) -> Tensor:
        a = self.weights(x, 0, 1)
        with full_precision(x):
            return (a.mT @ x).squeeze(-2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mix, b = self.weights(x, 1, self.streams + 2).tensor_split([self.streams], -1)
        with full_precision(x):
            return mix.mT @ x + b * y.unsqueeze(-2)

    def weights(self, x: Tensor, first: int, end: int) -> Tensor:
        """The columns ``first`` to ``end`` of (a, A, b): (N, columns), or (B, L, N, columns) where they are dynamic."""
        weights = self.static.view(self.streams, -1)[:, first:end]
        if self.dynamic:
            scale = repeat_each(self.scale, [self.streams + 1, 1])[first:end]
            weights = weights + scale * (self.norm(x) @ self.map[:, first:end]).tanh()
        return weights.to(x.dtype)


@register("residual", "manifold_hyper_connections", source="Xie et al. 2025, arXiv:2512.24880")
class ManifoldHyperConnections(Streams):
    """A X + b f(a^T X): as ``hyper_connections``, with A doubly stochastic, so that mixing makes no stream grow.

    a = sigmoid(u), b = 2 sigmoid(v), and A is exp(U) after ``iterations`` of Sinkhorn and Knopp, which scale columns,
    then rows to sums of 1. (u, v, U) = s * W norm(X) + c, the norm RMS over all streams of a token at once. W is
    initialized to 0, s (three numbers) to 0.01. The paper does not give the initial c: here A has ``init_value`` on its
    diagonal and the rest evenly beside it, a is one of its rows, for each sublayer the next one, and b is 1. So the
    model starts as that of ``plain``. With an ``init_value`` of 1 / ``streams`` the streams would stay equal for ever.
    Weight decay applies to W, not to c. With more streams than sublayers some streams stay equal.
    """

    decayed_parameters = ("map",)

    def __init__(
        self,
        build: BuildContext,
        *,
        streams: Annotated[int, Field(ge=2)] = 4,
        iterations: Annotated[int, Field(ge=1)] = 20,
        init_value: Annotated[float, Field(gt=0, lt=1)] = 0.9,
    ):
        super().__init__(build, streams)
        n = streams
        self.iterations, self.sizes = iterations, [n, n, n * n]
        rest = (1 - init_value) / (n - 1)
        mix = rest + (init_value - rest) * torch.eye(n)
        self.map = nn.Parameter(torch.zeros(sum(self.sizes), n * build.d_model))
        self.scale = nn.Parameter(torch.full((3,), 0.01))
        self.shift = nn.Parameter(torch.cat([mix[build.sublayer % n].logit(), torch.zeros(n), mix.log().flatten()]))

    def read(self, x: Tensor) -> Tensor:
        a = self.logits(x, 0, self.streams).sigmoid().to(x.dtype)
        with full_precision(x):
            return (a.unsqueeze(-2) @ x).squeeze(-2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.logits(x, self.streams, sum(self.sizes))
        b, mix = torch.split(logits, self.sizes[1:], -1)
        b = 2 * b.sigmoid()
        mix = sinkhorn(mix.view(*b.shape, self.streams), self.iterations).to(x.dtype)
        with full_precision(x):
            return mix @ x + b.unsqueeze(-1) * y.unsqueeze(-2)

    def logits(self, x: Tensor, first: int, end: int) -> Tensor:
        """The entries ``first`` to ``end`` of (u, v, U), (B, L, entries)."""
        x = x.flatten(-2)
        normalized = F.rms_norm(x, x.shape[-1:], eps=1e-6)
        scale = repeat_each(self.scale, self.sizes)[first:end]
        return scale * F.linear(normalized, self.map[first:end]) + self.shift[first:end]


def repeat_each(numbers: Tensor, counts: Sequence[int]) -> Tensor:
    """Each number as often as its count says: (n,) -> (sum of counts,)."""
    return torch.cat([number.expand(count) for number, count in zip(numbers, counts, strict=True)])


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """exp(logits) (..., N, N), columns and rows scaled in turn to sums of 1: the rows, which are last, exactly."""
    for _ in range(iterations):
        logits = logits.log_softmax(-2).log_softmax(-1)
    return logits.exp()
