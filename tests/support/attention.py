"""Parts of attention built alone, with random weights in float64."""

import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ablation.components.base import BuildContext
from ablation.registry import REGISTRY, expand_shorthand

SHAPE = BuildContext(d_model=16, n_layers=2, n_heads=4, n_kv_heads=4, max_length=12)
GROUPED = replace(SHAPE, n_kv_heads=2)


def normal(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(slot: str, name: str, *handed_in: Any, **hyper: Any) -> Any:
    kind = REGISTRY[slot][name]
    return kind.model_validate_json(json.dumps(expand_shorthand(kind, {"name": name, **hyper}))).build(*handed_in)


def wide(module: nn.Module) -> nn.Module:
    """In float64, not training, every parameter from a wide normal distribution."""
    module.double().eval()
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = normal(seed, *parameter.shape) / 2
    return module


X = normal(100, 3, 9, 16)
