"""Muon for the matrices inside blocks, combined with AdamW for all other parameters."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from ..registry import register
from .decay import decay_groups
from .optimizer import Beta, NotNegative, Optimizer, Positive, hidden_matrices


@register(
    "optimizer",
    "muon",
    source="Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982",
)
class Muon(Optimizer):
    """Orthogonalized momentum for the linear maps inside blocks; AdamW for embeddings, LM head, gains and the rest.

    ``scale`` moonlight gives updates the size of AdamW's, so that both can use one ``lr``; with jordan all singular
    values of an update are about 1, for an ``lr`` of about 0.02. ``adamw_lr`` defaults to ``lr``. Orthogonalization
    takes ``iterations`` Newton-Schulz steps in bfloat16, whatever the precision of the model.
    """

    state_per_parameter = 1

    def __init__(
        self,
        *,
        lr: Positive = 1e-3,
        weight_decay: NotNegative = 0.1,
        momentum: Beta = 0.95,
        nesterov: bool = True,
        iterations: Annotated[int, Field(ge=1, lt=100)] = 5,
        scale: Literal["moonlight", "jordan"] = "moonlight",
        adamw_lr: Positive | None = None,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Positive = 1e-8,
        **options: Any,
    ):
        super().__init__(**options)
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, betas, eps
        self.momentum, self.nesterov, self.iterations = momentum, nesterov, iterations
        self.adjust = {"moonlight": "match_rms_adamw", "jordan": "original"}[scale]
        self.adamw_lr = lr if adamw_lr is None else adamw_lr

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        hidden, decaying = hidden_matrices(model), self.decaying(model)
        hidden_groups = decay_groups(hidden, self.weight_decay, decaying)
        rest = decay_groups((p for p in model.parameters() if p not in set(hidden)), self.weight_decay, decaying)
        optimizers: list[torch.optim.Optimizer] = []
        if hidden:
            optimizers.append(
                torch.optim.Muon(
                    [group for group in hidden_groups if group["params"]],
                    self.lr,
                    self.weight_decay,
                    self.momentum,
                    self.nesterov,
                    ns_steps=self.iterations,
                    adjust_lr_fn=self.adjust,
                )
            )
        optimizers.append(torch.optim.AdamW(rest, self.adamw_lr, self.betas, self.eps, fused=True))
        return CombinedOptimizer(optimizers)


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one: it owns their parameter groups and state, and each steps on its own groups.

    A schedule that changes a group therefore changes the optimizer that the group belongs to.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.optimizers = optimizers
        self.param_groups = groups
        self.connect()

    def connect(self) -> None:
        """Make each optimizer use the groups and the state of this object."""
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]
            optimizer.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.connect()
