"""What a model costs, counted without training it: parameters, FLOPs, bytes of cache."""

from dataclasses import asdict, dataclass

import torch
from torch import nn

from ..components.context import Cache
from ..models import ModelConfig, build_undrawn


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
class Work:
    """What one token costs at inference."""

    flops_per_token: int
    """Matrix multiplications forward, 2 per multiply-add, at the length of the data; other work counts nothing."""
    cache_bytes_per_token: int | None
    """What one more token adds to the cache in 32-bit numbers; None where the model cannot go on from a cache."""


def count(config: ModelConfig, vocabulary: int, length: int) -> Counts:
    """Sizes of the model that ``config`` describes, from one that was built but not drawn.

    Errors: ValueError when its parts cannot be combined.
    """
    model = build_undrawn(config, vocabulary, length)
    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    readout = getattr(model, "readout", None)
    if readout is not None:
        tables[id(readout.weight)] = readout.weight
    return Counts(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding_parameters=sum(table.numel() for table in tables.values()),
    )


def count_work(config: ModelConfig, vocabulary: int, length: int) -> Work:
    """Costs per token, from one pass on torch's meta device, which holds no memory (but takes seconds to import)."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build_undrawn(config, vocabulary, length, device="meta").eval()
    tokens = torch.empty(1, length, dtype=torch.long, device="meta")
    cache = Cache() if all(getattr(mixer, "cacheable", True) for mixer in model.modules()) else None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens, cache=cache)
    return Work(
        flops_per_token=counter.get_total_flops() // length,
        cache_bytes_per_token=None if cache is None else cache.n_bytes // length,
    )
