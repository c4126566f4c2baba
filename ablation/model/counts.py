"""What a model costs, counted without training it: parameters, FLOPs, bytes of cache."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..components.architecture.stack import LMHeadWithTable
from ..components.context import Cache
from ..tasks.base import Task
from .build import build_uninitialized
from .config import ModelConfig
from .generate import cacheable


@dataclass(frozen=True)
class Counts:
    """How large one architecture is."""

    parameters: int
    """All that is trained."""
    embedding_parameters: int
    """Those of them in tables of vectors and in the readout."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class InferenceCost:
    """What one token costs at inference."""

    flops_per_token: int
    """Matrix multiplications forward, 2 per multiply-add, at the length of the data; other work counts nothing."""
    cache_bytes_per_token: int | None
    """What one more token adds to the cache in 32-bit numbers; None where the model cannot go on from a cache."""


def count_parameters(config: ModelConfig, vocabulary: int, length: int, n_classes: int | None = None) -> Counts:
    """Sizes of the model that ``config`` describes, from one that was built but not drawn.

    Errors: ValueError when its parts cannot be combined, or its weights cannot start as configured.
    """
    model = build_uninitialized(config, vocabulary, length, n_classes)
    config.initialization.build(config.shape(length)).check(model)
    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if isinstance(module, LMHeadWithTable) and module.table is not None:
            tables[id(module.table.weight)] = module.table.weight
    return Counts(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding_parameters=sum(table.numel() for table in tables.values()),
    )


@torch.no_grad()
def count_inference_cost(config: ModelConfig, task: Task) -> InferenceCost:
    """Costs per token, from one pass on torch's meta device, which holds no memory (but takes seconds to import)."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build_uninitialized(config, task.vocabulary, task.longest, task.n_classes, device="meta").eval()
    examples = task.validation()
    inputs: dict[str, Any] = {
        name: torch.empty_like(tensor[:1], device="meta") for name, tensor in examples.items() if name != "targets"
    }
    with FlopCounterMode(display=False) as counter:
        kept = _kept(model, inputs)
    n_tokens = inputs["tokens"].size(1)
    growth = None
    if kept is not None:  # a state of fixed size, such as a recurrent network's, is no growth
        shorter = {name: x[:, :-1] if name in ("tokens", "padding") else x for name, x in inputs.items()}
        growth = kept - (_kept(model, shorter) or 0 if n_tokens > 1 else 0)
    return InferenceCost(flops_per_token=counter.get_total_flops() // n_tokens, cache_bytes_per_token=growth)


def _kept(model: nn.Module, inputs: dict[str, Any]) -> int | None:
    """Bytes in the cache after these texts; None, after a pass all the same, where the model keeps none."""
    cache = Cache() if model.causal and cacheable(model) else None
    model(**inputs) if cache is None else model(**inputs, cache=cache)
    return None if cache is None else cache.n_bytes
