"""How the gradient grows or fades with depth before anything is learnt."""

import math
from statistics import fmean
from typing import Any

from torch import nn

from ...registry import register
from .contract import Course, Observer, blocks_of, slope


@register("observer", "gradient_by_depth", source="OLMo Team 2024, arXiv:2501.00656; He et al. 2015, arXiv:1502.01852")
class GradientByDepth(Observer):
    """The norm of each block's gradient in the first step, and lambda, the slope of its logarithm over the layers.

    lambda is 0 where all blocks are pulled alike, negative where early ones are pulled hardest. With an encoder and a
    decoder it is the mean of the two; their blocks are listed in the order in which they are passed.
    """

    def __init__(self) -> None:
        self.norms: list[list[float]] = []

    def before_update(self, model: nn.Module, step: int, is_look: bool) -> None:
        if step == 1:
            self.norms = [[_norm(block) for block in stack] for stack in blocks_of(model)]

    def summary(self, course: Course) -> dict[str, Any]:
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
