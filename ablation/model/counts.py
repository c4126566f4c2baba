"""What a model costs, counted without training it: parameters, FLOPs, bytes of cache."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..components.architecture.base import call_model
from ..components.base import role_of
from ..components.context import Cache
from ..errors import FAILURES
from ..tasks.base import Task, count_tokens
from .build import build_uninitialized
from .config import ModelConfig
from .flops import FlopCounter
from .generate import cacheable
from .size import bounded


@dataclass(frozen=True)
class Counts:
    """Sizes of a model."""

    parameters: int
    """All that are trained."""
    embedding_parameters: int
    """Those of them in tables of embeddings and in an untied head."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class InferenceCost:
    """What one token costs at inference."""

    flops_per_token: int
    """Of matrix multiplications forward, 2 per multiply-add, at the task's length; other operations are not counted.

    A query of attention is counted with all keys of that length, with a window with those of the window."""
    cache_bytes: int | None
    """The cache of one sequence of the task's length, in 32-bit numbers; None for a model without a cache.

    What a recurrent mixer hands on is of one size at any length, and so is what attention keeps of a full window."""
    cache_bytes_per_token: int | None
    """What one more token adds to it at that length: 0 where it has one size; None for a model without a cache."""


def count_parameters(config: ModelConfig, vocabulary: int, length: int, n_classes: int | None = None) -> Counts:
    """Sizes of the model that ``config`` describes, without initializing it; see ``build_to_count``."""
    return count(build_to_count(config, vocabulary, length, n_classes))


def build_to_count(config: ModelConfig, vocabulary: int, length: int, n_classes: int | None = None) -> nn.Module:
    """The model that ``config`` describes, uninitialized, in memory that is only reserved.

    It is not on torch's meta device, on which the first model takes a second, since torch imports its compiler.

    Errors: ValueError when its parts do not fit together, or its weights cannot be initialized as configured.
    """
    with bounded():
        model = build_uninitialized(config, vocabulary, length, n_classes)
    config.initialization.build(config.build_context(length)).check(model)
    return model


def count(model: nn.Module) -> Counts:
    """The sizes of a model that has been built."""
    tables = {
        id(module.weight): module.get_parameter("weight")
        for module in model.modules()
        if isinstance(module, nn.Embedding) or role_of(module) == "lm_head"
    }
    return Counts(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding_parameters=sum(table.numel() for table in tables.values()),
    )


@torch.no_grad()
def count_inference_cost(config: ModelConfig, task: Task) -> InferenceCost:
    """Costs per token, from one pass on torch's meta device, which holds no memory."""
    try:
        counter = FlopCounter()
        return _count(config, task, counter, lambda: counter.total)
    except FAILURES:  # of what our counter does not know; what is wrong in the model, torch's own says
        from torch.utils.flop_counter import FlopCounterMode

        slow = FlopCounterMode(display=False)
        return _count(config, task, slow, slow.get_total_flops)


def _count(
    config: ModelConfig, task: Task, counter: AbstractContextManager[Any], total: Callable[[], int]
) -> InferenceCost:
    examples = task.validation()
    inputs: dict[str, Any] = {
        name: torch.empty(tensor[:1].shape, dtype=tensor.dtype, device="meta")
        for name, tensor in examples.items()
        if name != "targets"
    }
    n_tokens, growth = count_tokens(inputs), None
    with counter:
        model = build_uninitialized(config, task.vocabulary, task.longest, task.n_classes, device="meta").eval()
        built = total()  # such as tables of positions
        n_bytes = _cache_bytes(model, inputs)
        flops = (total() - built) // n_tokens
        if n_bytes is not None:  # a state of fixed size, such as a recurrent network's, does not grow
            shorter = {name: x[:, :-1] if name in ("tokens", "padding") else x for name, x in inputs.items()}
            growth = n_bytes - (_cache_bytes(model, shorter) or 0 if n_tokens > 1 else 0)
    return InferenceCost(flops_per_token=flops, cache_bytes=n_bytes, cache_bytes_per_token=growth)


def _cache_bytes(model: nn.Module, inputs: dict[str, Any]) -> int | None:
    """Bytes in the cache after a pass; None, after a pass all the same, for a model without a cache."""
    if not getattr(model, "causal", False) or not cacheable(model):
        call_model(model, inputs)
        return None
    cache = Cache()
    call_model(model, inputs, cache=cache)
    return cache.n_bytes
