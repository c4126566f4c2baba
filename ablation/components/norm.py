"""Norm: normalizes the residual stream. Each token is normalized alone, except by ``batch_norm``.

Shapes: (B, L, M) -> (B, L, M), B batch, L tokens, M features of the model.
"""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext

Epsilon = Annotated[float, Field(gt=0)]


@register("norm", "layer_norm", source="Ba et al. 2016, arXiv:1607.06450")
class LayerNorm(nn.LayerNorm):
    """Zero mean and unit variance over the features, then a trained gain and bias.

    ``bias`` off leaves out the bias, as in MPT.
    """

    def __init__(self, build: BuildContext, *, eps: Epsilon = 1e-5, bias: bool = True):
        super().__init__(build.d_model, eps, bias=bias)


@register("norm", "rms_norm", source="Zhang and Sennrich 2019, arXiv:1910.07467")
class RMSNorm(nn.RMSNorm):
    """Unit root mean square over the features, then a trained gain.

    ``unit_offset`` writes the gain as 1 + w with w initialized to 0, as in Gemma: the same function, and the same
    training unless weight decay applies to gains.
    """

    def __init__(self, build: BuildContext, *, eps: Epsilon = 1e-5, unit_offset: bool = False):
        super().__init__(build.d_model, eps)
        self.unit_offset = unit_offset
        if unit_offset:
            nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., M)."""
        gain = 1 + self.weight if self.unit_offset else self.weight
        return F.rms_norm(x, self.normalized_shape, gain, self.eps)


@register("norm", "scale_norm", source="Nguyen and Salazar 2019, arXiv:1910.05895")
class ScaleNorm(nn.Module):
    """g x / |x|: all vectors get the length g, one trained number, initialized to sqrt(M)."""

    decayed_parameters = ()

    def __init__(self, build: BuildContext, *, eps: Epsilon = 1e-5):
        super().__init__()
        self.eps = eps
        self.length = nn.Parameter(torch.tensor(build.d_model**0.5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., M)."""
        return self.length * x / x.norm(dim=-1, keepdim=True).clamp(min=self.eps)


@register("norm", "dyt", source="Zhu et al. 2025, arXiv:2503.10622")
class DynamicTanh(nn.Module):
    """w tanh(a x) + b: no statistics, but a trained slope a initialized to ``alpha``, then a trained gain and bias."""

    decayed_parameters = ()

    def __init__(self, build: BuildContext, *, alpha: Annotated[float, Field(gt=0)] = 0.5):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(alpha))
        self.weight = nn.Parameter(torch.ones(build.d_model))
        self.bias = nn.Parameter(torch.zeros(build.d_model))

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., M)."""
        return self.weight * (self.slope * x).tanh() + self.bias


@register("norm", "batch_norm", source="Ioffe and Szegedy 2015, arXiv:1502.03167")
class BatchNorm(nn.BatchNorm1d):
    """LEAKS in training: each feature is normalized over all tokens of the batch, later ones included.

    Its training loss is therefore no language model's loss, and depends on the batch size and on padding, which counts
    as tokens. After training it uses running averages (buffers, updated with weight ``momentum`` per batch), which
    leak nothing. It is here to show why Transformers normalize each token alone.
    """

    over_batch: ClassVar[bool] = True

    def __init__(
        self, build: BuildContext, *, eps: Epsilon = 1e-5, momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    ):
        super().__init__(build.d_model, eps, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> (..., M)."""
        return super().forward(x.flatten(0, -2)).view_as(x)


@register("norm", "none", source="Zhang et al. 2019, arXiv:1901.09321")
class NoNorm(nn.Identity):
    """x: no normalization."""

    def __init__(self, build: BuildContext):
        super().__init__()
