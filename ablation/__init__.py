"""Ablation experiments on Transformers: what a change does, and whether the evidence is enough to say so.

The names below are what a component in a file of your own needs. They are looked up on first use, so that
``ablate --help`` does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .components.backend import Backend as Backend
    from .components.block import Block as Block
    from .components.context import Cache as Cache
    from .components.context import Context as Context
    from .components.embedding import Embedding as Embedding
    from .components.feedforward import Feedforward as Feedforward
    from .components.initialisation import Initialisation as Initialisation
    from .components.linear import OutProjection as OutProjection
    from .components.mixer import Mixer as Mixer
    from .components.observer import Course as Course
    from .components.observer import Observer as Observer
    from .components.optimiser import Optimiser as Optimiser
    from .components.pooling import Pooling as Pooling
    from .components.position import Position as Position
    from .components.position import distance as distance
    from .components.readout import Readout as Readout
    from .components.residual import Residual as Residual
    from .components.schedule import Schedule as Schedule
    from .components.shape import Shape as Shape
    from .data.task import Examples as Examples
    from .data.task import Task as Task
    from .grid.design import Design as Design
    from .randomness import generator as generator
    from .registry import ComponentConfig as ComponentConfig
    from .registry import Slot as Slot
    from .registry import register as register

_HOMES = {
    "Backend": ".components.backend",
    "Block": ".components.block",
    "Cache": ".components.context",
    "ComponentConfig": ".registry",
    "Context": ".components.context",
    "Course": ".components.observer",
    "Design": ".grid.design",
    "Embedding": ".components.embedding",
    "Examples": ".data.task",
    "Feedforward": ".components.feedforward",
    "Initialisation": ".components.initialisation",
    "Mixer": ".components.mixer",
    "Observer": ".components.observer",
    "Optimiser": ".components.optimiser",
    "OutProjection": ".components.linear",
    "Pooling": ".components.pooling",
    "Position": ".components.position",
    "Readout": ".components.readout",
    "Residual": ".components.residual",
    "Schedule": ".components.schedule",
    "Shape": ".components.shape",
    "Slot": ".registry",
    "Task": ".data.task",
    "distance": ".components.position",
    "generator": ".randomness",
    "register": ".registry",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
