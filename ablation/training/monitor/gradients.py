"""Monitors of the gradient: its norm over the steps, its norm over the layers, and how far a step moves the weights."""

import math
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from ...registry import register
from .base import Monitor, Series, TrainingHistory, blocks_of, slope


@register("monitor", "gradients", source="Pascanu et al. 2012, arXiv:1211.5063")
class GradientNorms(Monitor):
    """The gradient's norm before clipping: median, maximum, their ratio, and how often it is clipped.

    ``gradient_norm_tail`` is the maximum over the median. ``clipped_fraction`` counts the clipped steps after the
    warm-up, during which gradients are large in healthy runs as well; 0 without clipping.
    """

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        norms = [norm for norm in history.gradient_norms if math.isfinite(norm)]
        middle, largest = median(norms) if norms else None, max(norms, default=None)
        after_warmup = [norm for norm in history.gradient_norms[history.n_warmup :] if math.isfinite(norm)]
        clip = history.gradient_clip
        clipped = None
        if clip is not None and after_warmup:
            clipped = sum(norm > clip for norm in after_warmup) / len(after_warmup)
        return {
            "gradient_norm_median": middle,
            "gradient_norm_max": largest,
            "gradient_norm_tail": largest / middle if largest is not None and middle else None,
            "clipped_fraction": 0.0 if clip is None else clipped,
        }


@register("monitor", "gradient_by_depth", source="OLMo Team 2024, arXiv:2501.00656; He et al. 2015, arXiv:1502.01852")
class GradientByDepth(Monitor):
    """The norm of each block's gradient in the first step, and lambda, the slope of its logarithm over the layers.

    lambda is 0 where all blocks have gradients of the same norm, negative where those of early blocks are larger. With
    an encoder and a decoder it is the mean of the two, and the blocks are listed in the order of computation.
    """

    def __init__(self) -> None:
        self.norms: list[list[float]] = []

    def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
        if step == 1:
            self.norms = [[_norm(block) for block in stack] for stack in blocks_of(model)]

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        slopes = [
            slope([(layer, math.log(norm)) for layer, norm in enumerate(stack) if norm > 0 and math.isfinite(norm)])
            for stack in self.norms
        ]
        known = [value for value in slopes if value is not None]
        return {
            "gradient_by_depth": [norm for stack in self.norms for norm in stack] or None,
            "gradient_growth": fmean(known) if known else None,
        }


def _norm(block: nn.Module) -> float:
    gradients = [parameter.grad for parameter in block.parameters() if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients).item()


@register("monitor", "update_ratio", source="You et al. 2017, arXiv:1708.03888")
class UpdateRatio(Monitor):
    """||dW|| / ||W|| of one step, the median over all trained tensors of two or more axes.

    Vectors are left out: they start at 0 or at 1, where the ratio says little. ``update_ratio_median`` is the median
    over the measurements.
    """

    def __init__(self) -> None:
        self.series = Series()
        self.before: list[Tensor] = []
        """The weights before a measured update."""

    def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
        if is_measured:
            self.before = [weight.clone() for weight in _weights(model)]

    def measure(self, model: nn.Module, step: int, logits: Tensor | None) -> dict[str, float]:
        if not self.before:
            return {}
        changes = torch._foreach_norm(torch._foreach_sub(_weights(model), self.before))
        norms = torch._foreach_norm(self.before)
        self.before = []
        pairs = torch.stack([torch.stack([a.double(), b.double()]) for a, b in zip(changes, norms, strict=True)])
        ratio = median([change / norm for change, norm in pairs.tolist() if norm > 0] or [float("nan")])
        self.series.add(step, ratio)
        return {"update_ratio": ratio}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        return {"update_ratio_median": median(self.series.values) if self.series.values else None}


def _weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters() if parameter.dim() >= 2 and parameter.requires_grad]
