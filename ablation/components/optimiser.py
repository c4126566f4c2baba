"""Optimiser: how gradients become steps."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ..registry import register

Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimiser:
    """Base of the optimisers."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        raise NotImplementedError


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; gains, shifts and other vectors do not, as in GPT-2 and its successors."""
    everything = list(parameters)
    return [
        {"params": [p for p in everything if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in everything if p.dim() < 2], "weight_decay": 0.0},
    ]


@register("optimiser", "adamw", source="Loshchilov and Hutter 2017, arXiv:1711.05101")
class AdamW(Optimiser):
    """Adam with the weight decay kept apart from the gradient."""

    def __init__(
        self,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        weight_decay: Annotated[float, Field(ge=0)] = 0.1,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Annotated[float, Field(gt=0)] = 1e-8,
    ):
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, betas, eps

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        groups = decay_groups(parameters, self.weight_decay)
        return torch.optim.AdamW(groups, self.lr, self.betas, self.eps, fused=True)
