"""Optimizer: how gradients become updates of the parameters.

AdamW and Adafactor divide by a running root mean square of the gradients; SGD and Lion follow their running mean.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from ..components.block import Block
from ..registry import added_later, register
from .decay import DecayOn, decay_groups, decaying_parameters
from .groups import multipliers, multiply_learning_rates

Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Optimizer:
    """Base of the optimizers.

    ``decay_on`` says what ``weight_decay`` shrinks: ``weights``, by their role; ``matrices``, every tensor of two or
    more axes, as in GPT-2; or ``all``. Without ``decay_embeddings`` embeddings are left out, also where the LM head is
    tied to one. ``lr_multipliers`` gives parameters a multiple of the learning rate, by patterns (see ``groups``):
    roles, or paths with ``*``; as in torch, decay that is multiplied by the learning rate is multiplied as well.
    """

    decay_on: DecayOn = "weights"
    decay_embeddings: bool = True
    lr_multipliers: Mapping[str, float] = MappingProxyType({})
    state_per_parameter: ClassVar[int] = 0
    """Numbers that it keeps for every parameter beside its gradient, at least: by them planning knows what is too large
    for a machine."""

    def __init__(
        self,
        *,
        decay_on: Annotated[DecayOn, added_later("matrices")] = "weights",
        decay_embeddings: Annotated[bool, added_later(True)] = True,
        lr_multipliers: Annotated[dict[str, Positive], added_later({})] = {},  # noqa: B006
    ):
        self.decay_on, self.decay_embeddings, self.lr_multipliers = decay_on, decay_embeddings, lr_multipliers

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The torch optimizer of all parameters of ``model``; each parameter is in exactly one group."""
        raise NotImplementedError

    def for_model(self, model: nn.Module) -> torch.optim.Optimizer:
        """What ``build`` makes, with ``lr_multipliers``. Errors: InputError for a pattern that chooses nothing."""
        optimizer = self.build(model)
        if self.lr_multipliers:
            multiply_learning_rates(optimizer, multipliers(model, self.lr_multipliers))
        return optimizer

    def decaying(self, model: nn.Module) -> set[nn.Parameter]:
        """The parameters that ``weight_decay`` shrinks."""
        return decaying_parameters(model, self.decay_on, self.decay_embeddings)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights of the linear maps inside blocks, without embeddings, LM head, gains and convolution kernels."""
    in_blocks = {id(weight) for block in model.modules() if isinstance(block, Block) for weight in block.parameters()}
    return [weight for weight in linear_maps(model) if id(weight) in in_blocks]


def linear_maps(model: nn.Module) -> list[nn.Parameter]:
    """The weights of all linear maps, the LM head included unless it is tied to the embedding.

    Those that are computed, of weights with low-rank updates, are not parameters.
    """
    linear = (module for module in model.modules() if isinstance(module, nn.Linear))
    own = (dict(module.named_parameters(recurse=False)) for module in linear)
    maps = [parameters["weight"] for parameters in own if "weight" in parameters]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [weight for key, weight in {id(weight): weight for weight in maps}.items() if key not in tables]


@register("optimizer", "adamw", source="Loshchilov and Hutter 2017, arXiv:1711.05101")
class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    With ``base_width`` the learning rate of linear maps, an untied LM head included, is ``lr`` * base_width / input
    features, as in the maximal update parametrization (arXiv:2203.03466, table 3); their weight decay stays that of the
    other weights. Set it to the ``base`` of ``initialization: mup``.
    """

    state_per_parameter = 2

    def __init__(
        self,
        *,
        lr: Positive = 1e-3,
        weight_decay: NotNegative = 0.1,
        betas: tuple[Beta, Beta] = (0.9, 0.95),
        eps: Positive = 1e-8,
        base_width: Annotated[int, Field(ge=1)] | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        self.lr, self.weight_decay, self.betas, self.eps, self.base_width = lr, weight_decay, betas, eps, base_width

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        maps = linear_maps(model) if self.base_width else []
        scaled, decaying = set(maps), self.decaying(model)
        groups = decay_groups((p for p in model.parameters() if p not in scaled), self.weight_decay, decaying)
        by_width: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for weight in maps:
            by_width.setdefault((weight.size(1), weight in decaying), []).append(weight)
        for (width, decays), weights in by_width.items():
            scale = (self.base_width or 1) / width
            weight_decay = self.weight_decay / scale if decays else 0.0
            groups.append({"params": weights, "lr": self.lr * scale, "weight_decay": weight_decay})
        return torch.optim.AdamW(groups, self.lr, self.betas, self.eps, fused=True)


@register("optimizer", "adafactor", source="Shazeer and Stern 2018, arXiv:1804.04235")
class Adafactor(Optimizer):
    """Adam without momentum, with factored second moments (row and column means) and updates relative to the weights.

    ``lr`` is relative to the root mean square of a matrix (at least 1e-3), so it is larger than Adam's; it is limited
    to 1 / sqrt(step). The decay rate of second moments is 1 - step ** ``beta2_decay``; ``clip`` limits the root mean
    square of an update.
    """

    def __init__(
        self,
        *,
        lr: Positive = 1e-2,
        weight_decay: NotNegative = 0.0,
        beta2_decay: Annotated[float, Field(lt=0)] = -0.8,
        clip: Annotated[float, Field(ge=1)] = 1.0,
        **options: Any,
    ):
        super().__init__(**options)
        self.lr, self.weight_decay, self.beta2_decay, self.clip = lr, weight_decay, beta2_decay, clip

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        groups = decay_groups(model.parameters(), self.weight_decay, self.decaying(model))
        return torch.optim.Adafactor(groups, self.lr, self.beta2_decay, d=self.clip)


@register("optimizer", "sgd", source="Sutskever et al. 2013, On the importance of initialization and momentum")
class SGD(Optimizer):
    """Gradient descent with momentum; ``weight_decay`` is added to the gradient, as in torch."""

    def __init__(
        self,
        *,
        lr: Positive = 0.1,
        momentum: Beta = 0.9,
        nesterov: bool = False,
        weight_decay: NotNegative = 0.0,
        **options: Any,
    ):
        super().__init__(**options)
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        groups = decay_groups(model.parameters(), self.weight_decay, self.decaying(model))
        return torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.nesterov)


@register("optimizer", "lion", source="Chen et al. 2023, arXiv:2302.06675")
class Lion(Optimizer):
    """Every weight moves by ``lr``, in the direction of the sign of a mean of gradient and momentum.

    These updates are large: use a third to a tenth of AdamW's ``lr``, and as many times its ``weight_decay``.
    """

    state_per_parameter = 1

    def __init__(
        self,
        *,
        lr: Positive = 2e-4,
        weight_decay: NotNegative = 0.5,
        betas: tuple[Beta, Beta] = (0.9, 0.99),
        **options: Any,
    ):
        super().__init__(**options)
        self.lr, self.weight_decay, self.betas = lr, weight_decay, betas

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return LionOptimizer(
            decay_groups(model.parameters(), self.weight_decay, self.decaying(model)), self.lr, self.betas
        )


class LionOptimizer(torch.optim.Optimizer):
    """Lion as a torch optimizer; torch has none."""

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
