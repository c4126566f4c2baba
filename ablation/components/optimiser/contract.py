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
    blocks = (module for block in model.modules() if isinstance(block, Block) for module in block.modules())
    weights = [module.get_parameter("weight") for module in blocks if isinstance(module, nn.Linear)]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [weight for key, weight in {id(weight): weight for weight in weights}.items() if key not in tables]
