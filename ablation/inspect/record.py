"""Everything that is found inside one trained model, as plain data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..tasks.base import Examples, Task
from .evaluation import Validation
from .knockout import Knockouts, gradient_importance
from .maps import attention_maps, head_scores, maps_as_data
from .parts import FAMILIES, Ablation, Family
from .sites import heads_of, sublayers
from .streams import added_norms, logit_lens, streams_of

DEFAULT_FAMILIES: tuple[Family, ...] = FAMILIES[:4]


@dataclass(frozen=True)
class How:
    """What is asked of each model."""

    ablation: Ablation = "mean"
    families: Sequence[Family] = DEFAULT_FAMILIES
    """Which parts are knocked out, one at a time."""
    prunes: bool = True
    """Whether heads are also taken out one after another."""
    n_examples: int | None = None
    """How many validation examples, the first ones; None: all."""


@dataclass(frozen=True)
class Inside:
    """What was found in one model."""

    record: dict[str, Any]
    maps: list[dict[str, Any]]
    """See ``maps.maps_as_data``."""
    streams: dict[str, Tensor]
    """By layer, (N, M), to be compared with those of other models."""


def inspect_model(
    model: nn.Module, task: Task, shown: Examples, how: How, on_step: Callable[[str], None] = lambda step: None
) -> Inside:
    """Look into a model as it is, without dropout; ``shown`` are the examples whose maps are returned.

    ``on_step`` is called with what is done next. Errors: InputError for a model without stacks of blocks.
    """
    model.eval()
    device = str(next(model.parameters()).device)
    parts = sublayers(model)
    validation = Validation.of(task, how.n_examples, device)
    on_step("attention maps")
    shown = {name: tensor.to(device) for name, tensor in shown.items()}
    maps = maps_as_data(task, parts, attention_maps(model, parts, shown), shown)
    on_step("what heads do")
    scores = head_scores(model, parts, validation)
    intact = validation.score(model)
    on_step("knockouts")
    knockouts = Knockouts(model, parts, validation, how.ablation)
    heads = heads_of(parts)
    importance = gradient_importance(model, parts, validation) if heads else []
    lost = knockouts.one_at_a_time(how.families)
    pruning: list[dict[str, Any]] = []
    if how.prunes and heads:
        on_step("pruning")
        pruning = knockouts.prune()
    on_step("streams")
    record = {
        "measures": intact,
        "sublayers": [
            {
                "name": each.name,
                "stack": each.stack,
                "layer": each.layer,
                "sublayer": each.kind,
                "class": type(each.mixer or each.module).__name__,
                "heads": each.n_heads,
                "reason_no_weights": each.reason_no_weights,
                "even": scores[each].means_of_even() if each in scores else {},
            }
            for each in parts
        ],
        "heads": [
            {
                "head": head.name,
                "stack": head.sublayer.stack,
                "layer": head.sublayer.layer,
                "sublayer": head.sublayer.kind,
                "index": head.index,
                "scores": scores[head.sublayer].means(head.index) if head.sublayer in scores else {},
                "importance": value,
            }
            for head, value in zip(heads, importance, strict=True)
        ],
        "knockouts": lost,
        "pruning": pruning,
        "logit_lens": logit_lens(model, parts, validation),
        "norms": added_norms(model, parts, validation),
    }
    return Inside(record, maps, streams_of(model, parts, validation))
