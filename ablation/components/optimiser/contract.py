"""Optimiser: how gradients become steps."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ..block import Block

Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Optimiser:
    """Base of the optimisers."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all parameters of ``model``, each in one group."""
        raise NotImplementedError


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; gains, shifts and other vectors do not, as in GPT-2 and its successors."""
    everything = list(parameters)
    return [
        {"params": [p for p in everything if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in everything if p.dim() < 2], "weight_decay": 0.0},
    ]


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights of the linear maps inside blocks: no tables, no readout, no gains, no kernels of convolutions."""
    within = {id(weight) for block in model.modules() if isinstance(block, Block) for weight in block.parameters()}
    return [weight for weight in linear_maps(model) if id(weight) in within]


def linear_maps(model: nn.Module) -> list[nn.Parameter]:
    """The weights of all linear maps, a readout's own table among them, unless they are an embedding's table too."""
    maps = [module.get_parameter("weight") for module in model.modules() if isinstance(module, nn.Linear)]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [weight for key, weight in {id(weight): weight for weight in maps}.items() if key not in tables]
