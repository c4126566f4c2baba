"""Ablation studies of Transformers: what a change does, and whether the evidence is enough to say so.

``Study`` runs a grid and ``load`` reads one that was run; the other names are what components in a file of your own
need. All are imported on first use, so that ``ablate --help`` does not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.results import Results as Results
    from .api.study import Study as Study
    from .api.study import load as load
    from .components.architecture.base import Architecture as Architecture
    from .components.architecture.base import LayerParts as LayerParts
    from .components.architecture.base import ModelParts as ModelParts
    from .components.attention_backend import AttentionBackend as AttentionBackend
    from .components.base import BuildContext as BuildContext
    from .components.base import Linear as Linear
    from .components.block import Block as Block
    from .components.context import Cache as Cache
    from .components.context import ForwardContext as ForwardContext
    from .components.embedding import Embedding as Embedding
    from .components.feedforward import Feedforward as Feedforward
    from .components.initialization import Initialization as Initialization
    from .components.lm_head import LMHead as LMHead
    from .components.mixer.base import Mixer as Mixer
    from .components.pooling import Pooling as Pooling
    from .components.position.base import Position as Position
    from .components.position.base import distance as distance
    from .components.residual import Residual as Residual
    from .grid.design import Design as Design
    from .grid.search import Searcher as Searcher
    from .optim.optimizer import Optimizer as Optimizer
    from .optim.schedule import Schedule as Schedule
    from .registry import ComponentConfig as ComponentConfig
    from .registry import Slot as Slot
    from .registry import added_later as added_later
    from .registry import component as component
    from .registry import excluded_from_id as excluded_from_id
    from .registry import register as register
    from .rng import generator as generator
    from .tasks.base import IGNORED as IGNORED
    from .tasks.base import Examples as Examples
    from .tasks.base import Task as Task
    from .tasks.metrics import answer_metrics as answer_metrics
    from .tasks.metrics import class_metrics as class_metrics
    from .tasks.metrics import language_metrics as language_metrics
    from .tasks.metrics import masked_metrics as masked_metrics
    from .tasks.metrics import pair_metrics as pair_metrics
    from .training.monitor.base import Monitor as Monitor
    from .training.monitor.base import TrainingHistory as TrainingHistory

_MODULES = {
    "Architecture": ".components.architecture.base",
    "AttentionBackend": ".components.attention_backend",
    "Block": ".components.block",
    "BuildContext": ".components.base",
    "Cache": ".components.context",
    "ComponentConfig": ".registry",
    "Design": ".grid.design",
    "Embedding": ".components.embedding",
    "Examples": ".tasks.base",
    "Feedforward": ".components.feedforward",
    "ForwardContext": ".components.context",
    "IGNORED": ".tasks.base",
    "Initialization": ".components.initialization",
    "LMHead": ".components.lm_head",
    "LayerParts": ".components.architecture.base",
    "Linear": ".components.base",
    "Mixer": ".components.mixer.base",
    "ModelParts": ".components.architecture.base",
    "Monitor": ".training.monitor.base",
    "Optimizer": ".optim.optimizer",
    "Pooling": ".components.pooling",
    "Position": ".components.position.base",
    "Residual": ".components.residual",
    "Results": ".api.results",
    "Schedule": ".optim.schedule",
    "Searcher": ".grid.search",
    "Slot": ".registry",
    "Study": ".api.study",
    "Task": ".tasks.base",
    "TrainingHistory": ".training.monitor.base",
    "added_later": ".registry",
    "answer_metrics": ".tasks.metrics",
    "class_metrics": ".tasks.metrics",
    "component": ".registry",
    "distance": ".components.position.base",
    "excluded_from_id": ".registry",
    "masked_metrics": ".tasks.metrics",
    "generator": ".rng",
    "language_metrics": ".tasks.metrics",
    "load": ".api.study",
    "pair_metrics": ".tasks.metrics",
    "register": ".registry",
}

__all__ = sorted(_MODULES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
