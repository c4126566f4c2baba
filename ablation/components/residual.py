"""Residual: how what a sublayer says joins the stream that carries everything past it.

Shapes: B batch, L tokens, M features of the model; N streams, where there are several: (B, L, N, M).
"""

# DOC-TO-MERGE: 'Residuals of one stream.\n\nShapes: B batch, L tokens, M features of the model.\n'

# DOC-TO-MERGE: 'Residuals of several streams: a sublayer reads a mixture of them, and what it says is written to each in a share.\n\nAll streams init_value as copies of what goes into the first block, and their mean comes out of the last one. The papers take\nthe sum: under a last norm that is the same, and where a block has none the mean is as large as a single stream.\n\nShapes: B batch, L tokens, N streams, M features of the model.\n'

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext, full_precision


class Residual(nn.Module):
    """Base of the ways to join; each sublayer has one of its own. It carries one stream, (B, L, M), as it comes."""

    def __init__(self, build: BuildContext):
        super().__init__()

    def expand(self, x: Tensor) -> Tensor:
        """What goes into the first block, (B, L, M) -> the stream. Asked once, of the first sublayer's residual."""
        return x

    def read(self, x: Tensor) -> Tensor:
        """The stream -> what the sublayer is given, (B, L, M)."""
        return x

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y (B, L, M) -> the stream."""
        raise NotImplementedError

    def reduce(self, x: Tensor) -> Tensor:
        """The stream -> what comes out of the last block, (B, L, M). Asked once, of the last sublayer's residual."""
        return x


@register("residual", "plain", source="He et al. 2015, arXiv:1512.03385")
class Plain(Residual):
    """x + y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@register("residual", "scaled", source="Szegedy et al. 2016, arXiv:1602.07261")
class Scaled(Residual):
    """x + alpha y: a fixed share of what the sublayer says, 0.1 to 0.3 in Inception, 0.22 in Granite."""

    def __init__(self, build: BuildContext, *, alpha: Annotated[float, Field(gt=0)] = 0.2):
        super().__init__(build)
        self.alpha = alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.alpha * y


@register("residual", "rezero", source="Bachlechner et al. 2020, arXiv:2003.04887")
class ReZero(Residual):
    """x + a y: one trained number per sublayer, which starts at ``init_value``: at 0 the model starts as the identity.

    From 0 the sublayers get no gradient in the first step, only ``a`` does. Meant to do without norms.
    """

    def __init__(self, build: BuildContext, *, init_value: float = 0.0):
        super().__init__(build)
        self.share = nn.Parameter(torch.tensor(init_value))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y


@register("residual", "layer_scale", source="Touvron et al. 2021, arXiv:2103.17239")
class LayerScale(Residual):
    """x + a * y: one trained number per feature and sublayer, which starts at ``init_value``."""

    def __init__(self, build: BuildContext, *, init_value: float = 1e-5):
        super().__init__(build)
        self.share = nn.Parameter(torch.full((build.d_model,), init_value))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.share * y


class Streams(Residual):
    """Base of those that carry N streams, (B, L, N, M)."""

    def __init__(self, build: BuildContext, streams: int):
        super().__init__(build)
        self.streams = streams

    def expand(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-2).expand(*x.shape[:-1], self.streams, -1)

    def reduce(self, x: Tensor) -> Tensor:
        return x.mean(-2)


@register("residual", "hyper_connections", source="Zhu et al. 2024, arXiv:2409.19606")
class HyperConnections(Streams):
    """A^T X + b f(a^T X): X has ``streams`` rows; a, A and b are trained, and where ``dynamic`` the token moves them.

    (a, A, b) = S + s * tanh(norm(X) W), or S alone. S starts as reading one stream, for each sublayer the next one,
    leaving all as they are and writing to all; W starts at 0, s at 0.01 (one for a and A, one for b). So the model
    starts as that of ``plain``. The norm is LayerNorm, of each stream. W decays, S does not. Of more streams than
    sublayers some stay alike.
    """

    def __init__(self, build: BuildContext, *, streams: Annotated[int, Field(ge=1)] = 4, dynamic: bool = True):
        super().__init__(build, streams)
        self.dynamic = dynamic
        n = streams
        reads = torch.eye(n)[:, [build.sublayer % n]]
        initial = torch.cat([reads, torch.eye(n), torch.ones(n, 1)], 1)
        self.static = nn.Parameter(initial.flatten())  # a matrix would decay, and with it the stream
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
        """Columns of (a, A, b): (N, columns), of every token (B, L, N, columns) where they are dynamic."""
        weights = self.static.view(self.streams, -1)[:, first:end]
        if self.dynamic:
            scale = spread(self.scale, [self.streams + 1, 1])[first:end]
            weights = weights + scale * (self.norm(x) @ self.map[:, first:end]).tanh()
        return weights.to(x.dtype)


@register("residual", "manifold_hyper_connections", source="Xie et al. 2025, arXiv:2512.24880")
class ManifoldHyperConnections(Streams):
    """A X + b f(a^T X): as ``hyper_connections``, with A doubly stochastic, so that no stream can grow by being mixed.

    a = sigmoid(u), b = 2 sigmoid(v), and A is exp(U) after ``iterations`` of Sinkhorn and Knopp, which scale columns,
    then rows to sums of 1. All of (u, v, U) = s * W norm(X) + c, the norm RMS over all streams of a token at once. W
    starts at 0, s (three of them) at 0.01. The paper does not say where c starts: here each stream keeps ``init_value`` of
    itself and gets the rest evenly from the others, a sublayer reads one stream, for each the next one, in the same
    shares, and writes 1 to all. So the model starts as that of ``plain``. At a ``init_value`` of 1 / ``streams`` nothing
    would ever tell the streams apart. W decays, c does not. Of more streams than sublayers some stay alike.
    """

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
        """What the weights in these places are made of, (B, L, places)."""
        together = x.flatten(-2)
        normed = F.rms_norm(together, together.shape[-1:], eps=1e-6)
        scale = spread(self.scale, self.sizes)[first:end]
        return scale * F.linear(normed, self.map[first:end]) + self.shift[first:end]


def spread(numbers: Tensor, sizes: Sequence[int]) -> Tensor:
    """Each number as often as its size says."""
    return torch.cat([number.expand(size) for number, size in zip(numbers, sizes, strict=True)])


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """exp(logits) (..., N, N) with columns and rows scaled by turns to sums of 1: the rows, which are last, exactly."""
    for _ in range(iterations):
        logits = logits.log_softmax(-2).log_softmax(-1)
    return logits.exp()
