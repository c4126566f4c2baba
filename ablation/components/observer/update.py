"""How far one step moves the weights."""

from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ...registry import register
from .contract import Course, Looks, Observer


@register("observer", "update_ratio", source="You et al. 2017, arXiv:1708.03888")
class UpdateRatio(Observer):
    """||dW|| / ||W|| of one step, the median over all trained tensors of two or more axes.

    Vectors are left out: they start at 0 or at 1, where the ratio says little. ``update_ratio_median`` is the median
    over the looks.
    """

    def __init__(self) -> None:
        self.looks = Looks()
        self.before: list[Tensor] = []

    def before_update(self, model: nn.Module, step: int, is_look: bool) -> None:
        if is_look:
            self.before = [weight.clone() for weight in _weights(model)]

    def look(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.before:
            return {}
        moved = torch._foreach_norm(torch._foreach_sub(_weights(model), self.before))
        lengths = torch._foreach_norm(self.before)
        self.before = []
        pairs = torch.stack([torch.stack([a.double(), b.double()]) for a, b in zip(moved, lengths, strict=True)])
        ratio = median([moved / length for moved, length in pairs.tolist() if length > 0] or [float("nan")])
        self.looks.add(step, ratio)
        return {"update_ratio": ratio}

    def summary(self, course: Course) -> dict[str, Any]:
        return {"update_ratio_median": median(self.looks.values) if self.looks.values else None}


def _weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters() if parameter.dim() >= 2 and parameter.requires_grad]
