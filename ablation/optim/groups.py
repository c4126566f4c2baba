"""Groups of parameters, chosen by patterns, and the learning rates of optimizers for them.

A pattern is a role, such as ``embedding``, ``norm`` or ``out_projection``, or a path in which ``*`` stands for any
characters, such as ``stack.blocks.0.*``; ``ablate show`` lists the roles and paths of a model.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import torch
from torch import nn

from ..errors import InputError, nearest
from .decay import ParameterRole, parameter_roles


def matching(model: nn.Module, pattern: str) -> list[ParameterRole]:
    """The parameters that a pattern chooses. Errors: InputError where there are none."""
    of_model = parameter_roles(model)
    found = [each for each in of_model if pattern == each.role or fnmatchcase(each.path, pattern)]
    if not found:
        roles, paths = sorted({each.role for each in of_model}), [each.path for each in of_model]
        raise InputError(
            f"{pattern!r} is not a parameter of the model; allowed: a role ({', '.join(roles)}) or a path, with * for "
            f"any characters, such as {paths[0]}{nearest(pattern, [*roles, *paths])}"
        )
    return found


def multipliers(model: nn.Module, by_pattern: Mapping[str, float]) -> dict[nn.Parameter, float]:
    """The factor of each parameter that a pattern chooses; of several patterns, the product. Errors: InputError."""
    factors: dict[nn.Parameter, list[float]] = {}
    for pattern, factor in sorted(by_pattern.items()):  # so that the order in a file does not move the last bit
        for each in matching(model, pattern):
            factors.setdefault(each.parameter, []).append(factor)
    return {parameter: prod(of_parameter) for parameter, of_parameter in factors.items()}


def multiply_learning_rates(optimizer: torch.optim.Optimizer, factors: Mapping[nn.Parameter, float]) -> None:
    """Divide the groups of an optimizer, so that the learning rate of each parameter is multiplied by its factor."""
    parts = getattr(optimizer, "optimizers", None)
    if parts is not None:  # several as one, whose groups are theirs
        for part in parts:
            multiply_learning_rates(part, factors)
        optimizer.param_groups = [group for part in parts for group in part.param_groups]
        return
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        by_factor: dict[float, list[nn.Parameter]] = {1.0: []}  # first, since the first group's rate is the one logged
        for parameter in group["params"]:
            by_factor.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        groups += [{**group, "params": chosen, "lr": factor * group["lr"]} for factor, chosen in by_factor.items()]
    optimizer.param_groups = groups
