"""What follows from a change although nobody wrote it: sizes, tokens, the scale of embeddings, what decays.

A change of one setting often changes a second thing, which may be what makes the difference: sinusoidal positions drown
small embeddings, batches of another size see other numbers of tokens, BatchNorm lets later tokens through.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components.base import BuildContext
from ..components.initialization import Initialization
from ..components.position.base import Position, position_hooks
from ..config.experiment import ExperimentConfig
from ..config.shared import OncePerObject
from ..model.build import initialize
from ..model.config import ModelConfig, mixers_without_heads
from ..model.counts import Counts, build_to_count
from ..rng import generator
from ..tasks.base import Task

POSITIONS = 256
"""So many tokens and positions, and rows of their tables, show the scale at the start."""
DIGITS = 2
"""In which scales are shown."""
CLOSE = 0.1


Quantity = int | float | str | None


@dataclass(frozen=True)
class Consequence:
    """A quantity that differs from the baseline's, in words."""

    what: str
    before: Quantity
    after: Quantity


class Consequences:
    """The quantities of cells; models that cells have in common are examined once."""

    def __init__(self) -> None:
        self._scales = OncePerObject[ModelConfig, dict[str, float]](_scales)
        self._built: dict[int, tuple[ModelConfig, nn.Module]] = {}

    def of(
        self, config: ExperimentConfig, task: Task, counts: Counts, measured_on: Mapping[str, Any]
    ) -> dict[str, Quantity]:
        """By name in words."""
        training, model, steps = config.training, config.model, config.training.max_steps
        heads = None if mixers_without_heads(model) else model.d_head or model.d_model // model.n_heads
        data: Any = config.task  # whose settings every task has, as generated tasks do
        sequences = data.batch_size * training.accumulate
        schedule = config.schedule.build()
        return {
            "parameters": counts.parameters,
            "features per head": heads,
            "steps": steps,
            "steps of warm-up": schedule.n_warmup(steps) if hasattr(schedule, "n_warmup") else None,
            "sequences per step": sequences,
            "tokens seen": config.training_tokens,
            "parameters that decay": f"{100 * self._decaying(config, task) / counts.parameters:.0f} %",
            "validation": str(measured_on.get("validation")),
            "training sees later tokens": "yes" if _leaks(model) else "no",
            **self._scales(model),
        }

    def _decaying(self, config: ExperimentConfig, task: Task) -> int:
        if not getattr(config.optimizer, "weight_decay", 0.0):
            return 0
        if id(config.model) not in self._built:  # kept with its configuration, so that no other one gets its id
            model = build_to_count(config.model, task.vocabulary, task.longest, task.n_classes)
            self._built = {id(config.model): (config.model, model)}
        return sum(x.numel() for x in config.optimizer.build().decaying(self._built[id(config.model)][1]))


def compare(before: Mapping[str, Quantity], after: Mapping[str, Quantity]) -> list[Consequence]:
    """What differs; of validation sets only whether they do."""
    found = []
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if not _equal(one, other):
            sides = (None, "other examples") if name == "validation" else (one, other)
            found.append(Consequence(name, *sides))
    return found


def _equal(one: Quantity, other: Quantity) -> bool:
    """Scales are of random draws, and differ where they do so by more than a tenth."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= CLOSE * max(abs(one), abs(other))
    return one == other


def _leaks(model: ModelConfig) -> bool:
    norms = [model.norm, *(model.layer(index).norm for index in model.distinct_layers())]
    return any(getattr(norm.component, "over_batch", False) for norm in norms)


@torch.no_grad()
def _scales(model: ModelConfig) -> dict[str, float]:
    """The root mean squares, at the start, of what enters the first block and of weights that write to the stream."""
    build = model.model_copy(update={"max_length": None}).build_context(POSITIONS)
    scheme = model.initialization.build(build)
    if type(scheme).load_pretrained is not Initialization.load_pretrained:  # they start as what was loaded
        return {}
    weight = torch.empty(build.d_model, build.d_model)
    scheme.out_projection(weight, generator(0, "scales"))
    embedding, position = model.embedding.build(build, POSITIONS), model.position.build(build)
    initialize(embedding, scheme, 0)
    initialize(position, scheme, 0)
    seen, positions = _Seen(build, position), torch.arange(POSITIONS)
    embedding(positions[None], seen, positions)
    found = {
        "weights of maps to the residual stream at the start": _rms(weight),
        "initial scale of token embeddings": _rms(seen.tokens),
    }
    if "embed" in position_hooks(type(position)):
        found["initial scale of positions"] = _rms(seen.positions)
    return found


class _Seen(Position):
    """Notes what is of the tokens and what of the positions in their sum."""

    def __init__(self, build: BuildContext, position: Position):
        super().__init__(build)
        self.position = position
        self.tokens = self.positions = torch.zeros(())

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        once, twice = self.position.embed(x, positions), self.position.embed(2 * x, positions)
        self.tokens = twice - once  # which holds where x is scaled as well
        self.positions = once - self.tokens
        return once


def _rms(x: Tensor) -> float:
    return float(f"{float(x.square().mean().sqrt()):.{DIGITS}g}")
