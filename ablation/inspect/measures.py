"""Measures of what is inside a trained model, one number each, which claims may be about.

They are of the first ``N_EXAMPLES`` validation examples; parts are replaced by their mean output.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import fmean

from torch import nn

from ..compare.inside import free_share
from ..tasks.base import Task
from .evaluation import Validation, cut
from .knockout import Knockouts
from .maps import head_scores
from .parts import Family, parts_of
from .sites import Kind, sublayers

N_EXAMPLES = 64


class _Measured:
    """One model, and what its measures are read from, each computed once, when it is first needed."""

    def __init__(self, model: nn.Module, task: Task):
        self.model, self.sublayers = model.eval(), sublayers(model)
        device = str(next(model.parameters()).device)
        self.validation = Validation(task, {"": cut(task.validation(), N_EXAMPLES)}, device)
        self.knockouts = Knockouts(model, self.sublayers, self.validation)

    @cached_property
    def scores(self) -> list[tuple[Kind, dict[str, float | list[float]]]]:
        """Of every head that has weights, the kind of its sublayer and its scores."""
        scores = head_scores(self.model, self.sublayers, self.validation)
        return [(each.kind, found.means(head)) for each, found in scores.items() for head in range(each.n_heads)]

    @cached_property
    def loss(self) -> float:
        return self.validation.score(self.model)["loss"]

    def scores_named(self, name: str, kinds: Sequence[Kind] = ("mixer", "cross")) -> list[float]:
        """By head, one score of those that have it, in these kinds of sublayers."""
        values = [means.get(name) for kind, means in self.scores if kind in kinds]
        return [value for value in values if isinstance(value, float)]

    def rise(self, family: Family, index: int) -> float | None:
        """How much the loss rises without one part of a family; None where there is none."""
        parts = parts_of(self.model, self.sublayers, [family])
        return self.knockouts.scores([parts[index]])[0]["loss"] - self.loss if parts else None


def _largest(measured: _Measured, score: str) -> float | None:
    return max(measured.scores_named(score), default=None)


def _mean_to_first(measured: _Measured) -> float | None:
    weights = measured.scores_named("first", ["mixer"])
    return fmean(weights) if weights else None


def _free_heads(measured: _Measured) -> float | None:
    curve = measured.knockouts.prune()
    return free_share([(step["share"], step["measures"]["loss"] - measured.loss) for step in curve])


MEASURES: dict[str, Callable[[_Measured], float | None]] = {
    "largest_induction": lambda measured: _largest(measured, "induction"),
    "largest_previous": lambda measured: _largest(measured, "previous"),
    "largest_answer": lambda measured: _largest(measured, "answer"),
    "attention_to_first": _mean_to_first,
    "free_heads": _free_heads,
    "loss_without_first_layer": lambda measured: measured.rise("layers", 0),
    "loss_without_last_layer": lambda measured: measured.rise("layers", -1),
    "loss_without_positions": lambda measured: measured.rise("positions", 0),
}
"""By name: the largest score of any head; the mean weight of self-attention on the first token; the share of heads that
are free; how much the loss rises without a part. None where a model has no such part."""


def measure(model: nn.Module, task: Task, names: Sequence[str]) -> dict[str, float | None]:
    """These measures of a trained model, computing nothing that only the others need.

    Errors: InputError for a model without stacks of blocks.
    """
    measured = _Measured(model, task)
    return {name: MEASURES[name](measured) for name in names}
