"""Optimisers that divide by how large gradients have been."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ...registry import AddedLater, register
from .contract import Beta, NotNegative, Optimiser, Positive, decay_groups, linear_maps


@register("optimiser", "adamw", source="Loshchilov and Hutter 2017, arXiv:1711.05101")
class AdamW(Optimiser):
    """Adam with the weight decay kept apart from the gradient.

    With ``base_width``, linear maps, an untied readout among them, learn at ``lr`` base_width / features in, as the
    maximal update parametrisation has it (arXiv:2203.03466, table 3), and decay as much as the others; set it to the
    ``base`` of ``initialisation: mup``.
    """

    def __init__(
        self,
        *,
        lr: Positive = 1e-3,
        weight_decay: NotNegative = 0.1,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Positive = 1e-8,
        base_width: Annotated[Annotated[int, Field(ge=1)] | None, AddedLater(None)] = None,
    ):
        self.lr, self.weight_decay, self.betas, self.eps, self.base_width = lr, weight_decay, betas, eps, base_width

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        maps = linear_maps(model) if self.base_width else []
        apart = {id(weight) for weight in maps}
        groups = decay_groups((p for p in model.parameters() if id(p) not in apart), self.weight_decay)
        for weight in maps:
            share = (self.base_width or 1) / weight.size(1)
            groups.append({"params": [weight], "lr": self.lr * share, "weight_decay": self.weight_decay / share})
        return torch.optim.AdamW(groups, self.lr, self.betas, self.eps, fused=True)


@register("optimiser", "adafactor", source="Shazeer and Stern 2018, arXiv:1804.04235")
class Adafactor(Optimiser):
    """Adam without momentum whose squares are kept by row and by column; steps are as large as the weights they move.

    ``lr`` is a share of a matrix's root mean square (at least 1e-3), so larger than Adam's, and falls by itself as
    1 / sqrt(step) once that is less. ``beta2_decay`` is how fast the memory of squares grows, ``clip`` the largest root
    mean square of an update.
    """

    def __init__(
        self,
        *,
        lr: Positive = 1e-2,
        weight_decay: NotNegative = 0.0,
        beta2_decay: Annotated[float, Field(lt=0)] = -0.8,
        clip: Annotated[float, Field(ge=1)] = 1.0,
    ):
        self.lr, self.weight_decay, self.beta2_decay, self.clip = lr, weight_decay, beta2_decay, clip

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        groups = decay_groups(model.parameters(), self.weight_decay)
        return torch.optim.Adafactor(groups, self.lr, self.beta2_decay, d=self.clip)
