"""The norm of the whole gradient over the steps."""

# DOC-TO-MERGE: 'How the gradient grows or fades with depth before anything is learned.'

# DOC-TO-MERGE: 'How far one step moves the weights.'

import math
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from ...registry import register
from .base import Monitor, Series, TrainingHistory, blocks_of, slope


@register("monitor", "gradients", source="Pascanu et al. 2012, arXiv:1211.5063")
class GradientNorms(Monitor):
    """The gradient's norm before clipping: its median, its largest, how far apart they are, how often it is clipped.

    ``gradient_norm_tail`` is the largest over the median. ``clipped_share`` is of the steps after the warm-up, whose
    gradients are large in healthy runs as well; 0 where nothing clips.
    """

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        norms = [norm for norm in history.gradient_norms if math.isfinite(norm)]
        middle, largest = median(norms) if norms else None, max(norms, default=None)
        after = [norm for norm in history.gradient_norms[history.n_warmup :] if math.isfinite(norm)]
        clip = history.gradient_clip
        clipped = sum(norm > clip for norm in after) / len(after) if clip is not None and after else None
        return {
            "gradient_norm_median": middle,
            "gradient_norm_max": largest,
            "gradient_norm_tail": largest / middle if largest is not None and middle else None,
            "clipped_share": 0.0 if clip is None else clipped,
        }


@register("monitor", "gradient_by_depth", source="OLMo Team 2024, arXiv:2501.00656; He et al. 2015, arXiv:1502.01852")
class GradientByDepth(Monitor):
    """The norm of each block's gradient in the first step, and lambda, the slope of its logarithm over the layers.

    lambda is 0 where all blocks are pulled alike, negative where early ones are pulled hardest. With an encoder and a
    decoder it is the mean of the two; their blocks are listed in the order in which they are passed.
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
        known = [one for one in slopes if one is not None]
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
    over the looks.
    """

    def __init__(self) -> None:
        self.series = Series()
        self.before: list[Tensor] = []

    def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
        if is_measured:
            self.before = [weight.clone() for weight in _weights(model)]

    def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.before:
            return {}
        moved = torch._foreach_norm(torch._foreach_sub(_weights(model), self.before))
        lengths = torch._foreach_norm(self.before)
        self.before = []
        pairs = torch.stack([torch.stack([a.double(), b.double()]) for a, b in zip(moved, lengths, strict=True)])
        ratio = median([moved / length for moved, length in pairs.tolist() if length > 0] or [float("nan")])
        self.series.add(step, ratio)
        return {"update_ratio": ratio}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        return {"update_ratio_median": median(self.series.values) if self.series.values else None}


def _weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters() if parameter.dim() >= 2 and parameter.requires_grad]
