"""Residual: how the output of a sublayer is added to the residual stream, or to several of them.

Of several streams a sublayer reads a mixture, and its output is added to each with a weight. All streams start as
copies of the input of the first block, and the output of the last block is their mean. The papers take the sum: before
a last norm that is the same, and where a block has none the mean is as large as a single stream.

Shapes: B batch, L tokens, M features of the model; N streams, where there are several: (B, L, N, M).
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    """Base of the residuals with N streams, (B, L, N, M).

    A sublayer's input and the mixed streams, to which its output is added, come of one product: ``read`` keeps these
    for ``forward``.
    """

    def __init__(self, build: BuildContext, streams: int):
        super().__init__(build)
        self.streams = streams
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """With which streams x are read and mixed, (N + 1, N), and an output is added, (N, 1); or (B, L, ...)."""
        raise NotImplementedError

    def expand(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-2).repeat_interleave(self.streams, -2)  # a view would be multiplied token by token

    def read(self, x: Tensor) -> Tensor:
        weights, b = self.weights(x)
        with full_precision(x):
            h, mixed = torch.split(weights @ x, [1, self.streams], -2)
        self.kept = x, mixed, b
        return h.squeeze(-2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.kept is None or self.kept[0] is not x:  # not the streams that were read, as with dropout on them
            self.read(x)
        assert self.kept is not None
        (_, mixed, b), self.kept = self.kept, None
        with full_precision(x):
            return add_to_streams(mixed, b, y)

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

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.static.view(self.streams, -1)
        if self.dynamic:
            scale = repeat_each(self.scale, [self.streams + 1, 1])
            mapped = F.linear(self.norm(x), self.map.mT.contiguous())  # norm(X) W, on a CPU in a third of its time
            weights = weights + scale * mapped.tanh()
        to_read_and_mix, b = torch.split(weights.to(x.dtype), [self.streams + 1, 1], -1)
        return to_read_and_mix.mT.contiguous(), b  # slices would be multiplied token by token


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

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, v, logits = torch.split(self.logits(x), self.sizes, -1)
        mix = sinkhorn(logits.view(*logits.shape[:-1], self.streams, self.streams), self.iterations)
        return torch.cat([u.sigmoid().unsqueeze(-2), mix], -2).to(x.dtype), 2 * v.sigmoid().unsqueeze(-1)

    def logits(self, x: Tensor) -> Tensor:
        """(u, v, U) = s * W norm(X) + c, (B, L, N + N + N * N)."""
        mapped = NormalizedLinear.apply(x.flatten(-2), self.map, 1e-6)  # type: ignore[no-untyped-call]
        return repeat_each(self.scale, self.sizes) * mapped + self.shift


class NormalizedLinear(torch.autograd.Function):
    """y = W norm(x) = r W x with r = (mean(x^2) + eps)^(-1/2): x (..., K), W (R, K) -> (..., R).

    As dx = r W^T dy - r^2 (dy . y) x / K, neither norm(x) nor its gradient, which are as large as x, is ever needed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.size(-1)
        r = (mean_square + eps).rsqrt()
        y = F.linear(x, weight) * r
        ctx.save_for_backward(x, weight, y, r)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, y, r = ctx.saved_tensors
        d_mapped = (r * d_y).flatten(0, -2)
        along = (d_y * y).sum(-1, keepdim=True) * r * r / x.size(-1)
        d_x = torch.addmm((-along * x).flatten(0, -2), d_mapped, weight)
        return d_x.view_as(x), d_mapped.mT @ x.flatten(0, -2), None


def add_to_streams(streams: Tensor, b: Tensor, y: Tensor) -> Tensor:
    """streams + b y, (B, L, N, M): an output y (B, L, M) added to each stream, times b, (N, 1) or (B, L, N, 1).

    As one product of matrices for each token: b y and its gradient would be as large as the streams.
    """
    of_token = b.to(streams.dtype).expand(*streams.shape[:-1], 1).reshape(-1, streams.size(-2), 1)
    outputs = y.to(streams.dtype).reshape(-1, 1, y.size(-1))
    return torch.baddbmm(streams.flatten(0, 1), of_token, outputs).view_as(streams)


def repeat_each(numbers: Tensor, counts: Sequence[int]) -> Tensor:
    """Each number as often as its count says: (n,) -> (sum of counts,)."""
    return torch.cat([number.expand(count) for number, count in zip(numbers, counts, strict=True)])


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """exp(logits) (..., N, N), columns and rows scaled in turn to sums of 1: the rows, which are last, exactly."""
    logits = logits.movedim((-2, -1), (0, 1)).contiguous()  # sums over the first axes take an eighth of the time
    for _ in range(iterations):
        logits = logits.log_softmax(0).log_softmax(1)
    return logits.exp().movedim((0, 1), (-2, -1)).contiguous()
