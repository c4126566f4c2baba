"""Costs: what the models of cells cost at inference, which is counted once for each model and kept.

Counting takes a tenth of a second to seconds for each model, and every plan of a grid needs it. What was counted is in
one file of the runs' folder, which may be deleted at any time.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from ..store.checks import optional, record, whole
from ..store.code import code_version
from ..store.digests import DIGEST, is_as_written, with_own_digest
from ..store.files import read_json, write_json
from ..store.runs import Store

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig
    from ..model.counts import InferenceCost
    from ..tasks.base import Task

NAME = ".costs.json"
MOST = 10_000
"""Models whose costs are kept, the last ones."""
_COST = record({"flops_per_token": whole, "cache_bytes": optional(whole), "cache_bytes_per_token": optional(whole)})


class Costs:
    """Counts the costs of models; those that this store has seen with the same code are known."""

    def __init__(self, store: Store):
        self.file = store.root / NAME
        self._new: dict[str, dict[str, Any]] = {}

    def of(self, config: "ExperimentConfig", task: "Task") -> "InferenceCost":
        """The costs of a cell's model. Errors: those of building it."""
        from ..model.counts import InferenceCost, count_inference_cost

        key = _key(config, task)
        known = self._new.get(key) or self._kept.get(key)
        if not isinstance(known, dict) or _COST(known) is not None:  # unknown, or changed by hand
            known = asdict(count_inference_cost(config.model, task))
        self._new[key] = known
        return InferenceCost(**known)

    def save(self) -> None:
        """Keep what was counted; where the folder is not there or cannot be written to, it is counted again."""
        if not self._new or not self.file.parent.is_dir():
            return
        kept = {**self._kept, **self._new}
        try:
            write_json(self.file, with_own_digest(dict(list(kept.items())[-MOST:])), durable=False)
        except StorageError:
            return

    @cached_property
    def _kept(self) -> Mapping[str, Any]:
        try:
            content = read_json(self.file)
        except StorageError:
            return {}
        return {key: cost for key, cost in content.items() if key != DIGEST} if is_as_written(content) else {}


def _key(config: "ExperimentConfig", task: "Task") -> str:
    import torch

    sizes = task.vocabulary, task.longest, task.n_classes, task.kind
    code = code_version(config), torch.__version__
    parts = (config.model.model_dump_json(), config.task.model_dump_json(), repr(sizes), repr(code))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
