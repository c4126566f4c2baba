"""Optimisers that follow a running mean of the gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...registry import register
from .contract import Beta, NotNegative, Optimiser, Positive, decay_groups


@register("optimiser", "sgd", source="Sutskever et al. 2013, On the importance of initialization and momentum")
class SGD(Optimiser):
    """Steps along the gradient, with momentum; ``weight_decay`` is part of the gradient, as in torch."""

    def __init__(
        self,
        *,
        lr: Positive = 0.1,
        momentum: Beta = 0.9,
        nesterov: bool = False,
        weight_decay: NotNegative = 0.0,
    ):
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        groups = decay_groups(model.parameters(), self.weight_decay)
        return torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.nesterov)


@register("optimiser", "lion", source="Chen et al. 2023, arXiv:2302.06675")
class Lion(Optimiser):
    """Every weight moves by ``lr``, in the direction of the sign of gradient and momentum together.

    Steps are large: take a third to a tenth of AdamW's ``lr``, and as many times its ``weight_decay``.
    """

    def __init__(
        self,
        *,
        lr: Positive = 2e-4,
        weight_decay: NotNegative = 0.5,
        betas: tuple[Beta, Beta] = (0.9, 0.99),
    ):
        self.lr, self.weight_decay, self.betas = lr, weight_decay, betas

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return SignedMomentum(decay_groups(model.parameters(), self.weight_decay), self.lr, self.betas)


class SignedMomentum(torch.optim.Optimizer):
    """Lion, which torch does not have."""

    def __init__(self, groups: list[dict[str, object]], lr: float, betas: tuple[float, float]):
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for w in group["params"]:
                if w.grad is not None:
                    if not self.state[w]:
                        self.state[w]["momentum"] = torch.zeros_like(w)
                    m = self.state[w]["momentum"]
                    w.mul_(1 - lr * group["weight_decay"])
                    w.sub_(lr * (beta1 * m + (1 - beta1) * w.grad).sign())
                    m.lerp_(w.grad, 1 - beta2)
        return loss
