"""Measures of what is inside a trained model, one number each, which claims may be about.

They are of the first ``N_EXAMPLES`` validation examples; parts are replaced by their mean output.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..compare.inside import margin_of_loss
from ..tasks.base import Task
from .evaluation import cut
from .parts import Family
from .record import How, inspect_model

N_EXAMPLES = 64

Record = Mapping[str, Any]
"""See ``record.inspect_model``."""


def _largest(record: Record, score: str) -> float | None:
    values = [head["scores"][score] for head in record["heads"] if score in head["scores"]]
    return max(values, default=None)


def _mean_to_first(record: Record) -> float | None:
    heads = [head for head in record["heads"] if head["sublayer"] == "mixer" and "first" in head["scores"]]
    return fmean(head["scores"]["first"] for head in heads) if heads else None


def _rise(record: Record, part: str) -> float | None:
    """How much the loss rises without a part."""
    found = [each["measures"]["loss"] for each in record["knockouts"] if each["part"] == part]
    return found[0] - record["measures"]["loss"] if found else None


def _layers(record: Record) -> list[str]:
    return [each["part"] for each in record["knockouts"] if each["family"] == "layers"]


def _free_heads(record: Record) -> float | None:
    """The share of heads that can go, the least missed first, before the loss rises by more than its margin."""
    if not record["pruning"]:
        return None
    limit, share = record["measures"]["loss"] + margin_of_loss(), 0.0
    for step in record["pruning"]:
        if step["measures"]["loss"] > limit:
            break
        share = step["share"]
    return share


MEASURES: dict[str, Callable[[Record], float | None]] = {
    "largest_induction": lambda record: _largest(record, "induction"),
    "largest_previous": lambda record: _largest(record, "previous"),
    "attention_to_first": _mean_to_first,
    "free_heads": _free_heads,
    "loss_without_first_layer": lambda record: _rise(record, _layers(record)[0]),
    "loss_without_last_layer": lambda record: _rise(record, _layers(record)[-1]),
    "loss_without_positions": lambda record: _rise(record, "positions"),
}
"""By name: the largest score of any head; the mean weight of self-attention on the first token; the share of heads that
are free; how much the loss rises without a part. None where a model has no such part."""


def measure(model: Any, task: Task, names: Sequence[str]) -> dict[str, float | None]:
    """These measures of a trained model."""
    families: list[Family] = []
    if any("layer" in name for name in names):
        families.append("layers")
    if "loss_without_positions" in names:
        families.append("positions")
    how = How(families=families, prunes="free_heads" in names, n_examples=N_EXAMPLES)
    record = inspect_model(model, task, cut(task.validation(), 1), how).record
    return {name: MEASURES[name](record) for name in names}
