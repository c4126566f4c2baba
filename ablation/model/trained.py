"""Which parameters of a model are trained: all of them, those that are not frozen, or low-rank updates of some.

Shapes: N outputs and M inputs of a linear map, R rank.
"""

from collections.abc import Collection
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InputError
from ..optim.groups import matching
from ..registry import Config
from ..rng import generator

Patterns = tuple[Annotated[str, Field(min_length=1)], ...]
"""Roles or paths of parameters, see ``optim.groups``."""


class LoRAConfig(Config):
    """Low-rank updates of the weights of linear maps (LoRA), beside which all parameters are frozen."""

    rank: PositiveInt
    alpha: Annotated[float, Field(gt=0)]
    """The update is multiplied by alpha / rank."""
    parameters: Annotated[Patterns, Field(min_length=1)] = ("*.query.weight", "*.value.weight")
    """The weights that are updated: roles, or paths with ``*``."""
    also_trained: Patterns = ()
    """Parameters that are trained as they are, such as a new head."""


class LowRankUpdate(nn.Module):
    """W + alpha / rank * B A of a linear map's weight W (N, M), where B starts at zero (Hu et al. 2021, 2106.09685).

    A starts uniform within 1 / sqrt(M), as in the authors' code.
    """

    decayed_parameters = ("a", "b")

    def __init__(self, weight: Tensor, config: LoRAConfig, random: torch.Generator):
        super().__init__()
        n_out, n_in = weight.shape
        bound = n_in**-0.5
        a = torch.empty(config.rank, n_in).uniform_(-bound, bound, generator=random)
        self.a = nn.Parameter(a.to(weight.device, weight.dtype))
        self.b = nn.Parameter(weight.new_zeros(n_out, config.rank))
        self.scale = config.alpha / config.rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a)


def choose_trained(model: nn.Module, freeze: Collection[str], lora: LoRAConfig | None, seed: int) -> None:
    """Freeze parameters, or all of them beside low-rank updates, which become part of the model.

    Errors: InputError, which begins with the path of a setting.
    """
    for pattern in freeze:
        _train(model, pattern, False, "training.freeze")
    if lora is not None:
        if freeze:
            raise InputError("training.freeze: with training.lora all is frozen but its updates and also_trained")
        model.requires_grad_(False)
        for pattern in lora.also_trained:
            _train(model, pattern, True, "training.lora.also_trained")
        _add_updates(model, lora, seed)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("training.freeze: no parameter is left that is trained")


def count_trained(model: nn.Module) -> int:
    """How many parameters are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def choose_and_count(model: nn.Module, freeze: Collection[str], lora: LoRAConfig | None, seed: int) -> int | None:
    """The same, and how many parameters are then trained; None where all are. Errors: InputError."""
    if not freeze and lora is None:
        return None
    choose_trained(model, freeze, lora, seed)
    return count_trained(model)


def merge_updates(model: nn.Module) -> None:
    """Make the low-rank updates part of the weights, so that the model is what it was built as."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _train(model: nn.Module, pattern: str, is_trained: bool, place: str) -> None:
    try:
        chosen = matching(model, pattern)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    for each in chosen:
        each.parameter.requires_grad_(is_trained)


def _add_updates(model: nn.Module, lora: LoRAConfig, seed: int) -> None:
    place, paths = "training.lora.parameters", dict[str, None]()
    for pattern in lora.parameters:
        try:
            paths |= dict.fromkeys(each.path for each in matching(model, pattern))
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
    for path in paths:
        owner, _, name = path.rpartition(".")
        module = model.get_submodule(owner)
        if not isinstance(module, nn.Linear) or name != "weight":
            raise InputError(f"{place}: {path} is not the weight of a linear map, which alone has an update")
        update = LowRankUpdate(module.weight, lora, generator(seed, "lora", path))
        parametrize.register_parametrization(module, "weight", update)
