"""Knock-outs: what a trained model loses without a part, one at a time, and heads one after another.

Shapes: B sequences, L tokens, H heads, E features of a head's output.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..components.architecture.stack import Stack
from ..components.context import ForwardContext
from ..errors import InputError
from ..tasks.base import Examples, count_examples
from .evaluation import Validation, forward
from .parts import Ablation, Means, Outputs, Part, parts_of, without
from .sites import Head, SiteName, Sublayer, heads_of, hooked


@torch.no_grad()
def mean_outputs(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> Means:
    """Over the usual validation set, of every head and sublayer, and of the embedding.

    That of the embedding is over all tokens that it is of, those of a source too.
    """
    means = Means()

    def add(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> None:
        means.add((sublayer, name), y, context.padding)

    def before_stack(module: nn.Module, arguments: Any) -> None:
        x, context = arguments  # what was embedded, with its padding
        means.add(None, x, context.padding)

    handles = [each.register_forward_pre_hook(before_stack) for each in model.modules() if isinstance(each, Stack)]
    try:
        with hooked(sublayers, ["heads", "output"], add):
            for batch in validation.batches():
                forward(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return means


class Knockouts:
    """Scores a model without parts of it on all validation sets; the means are those of the usual set."""

    def __init__(
        self, model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation, ablation: Ablation = "mean"
    ):
        self.model, self.sublayers, self.validation, self.ablation = model, sublayers, validation, ablation
        if ablation == "resample" and any(count_examples(each) < 2 for each in validation.sets.values()):
            raise InputError("--knockout resample: takes outputs of other examples, and there is only one")

    @cached_property
    def means(self) -> Means:
        """What takes the place of parts; empty for the other kinds of knock-out."""
        return mean_outputs(self.model, self.sublayers, self.validation) if self.ablation == "mean" else Means()

    @torch.no_grad()
    def scores(self, parts: Sequence[Part]) -> list[dict[str, float]]:
        """By part, every measure of the model without it."""
        scorers = [self.validation.scorer() for _ in parts]
        for suffix in self.validation.sets:
            for batch in self.validation.batches(suffix):
                others = self._others(batch) if self.ablation == "resample" else None
                for part, scorer in zip(parts, scorers, strict=True):
                    with without(self.model, part, self.ablation, self.means, others):
                        scorer.update(suffix, forward(self.model, batch), batch["targets"])
        return [scorer.compute() for scorer in scorers]

    def one_at_a_time(self, families: Sequence[Any]) -> list[dict[str, Any]]:
        """Each part of these families by name and place, with the measures of the model that lacks it."""
        parts = parts_of(self.model, self.sublayers, families)
        return [
            {"part": part.name, "family": part.family, **part.place, "measures": measures}
            for part, measures in zip(parts, self.scores(parts), strict=True)
        ]

    def prune(self) -> list[dict[str, Any]]:
        """Heads taken out one after another, each time the one whose loss hurts least besides those that are gone.

        The loss is what ``loss`` measures. The order is chosen on the set that the losses are of, so that they are
        somewhat too favorable; all cells and seeds are treated alike. Every step tries all heads that are left.
        """
        gone: tuple[Head, ...] = ()
        left = heads_of(self.sublayers)
        n_heads = len(left)
        curve: list[dict[str, Any]] = []
        while left:
            tried = [Part("heads", head.name, heads=(*gone, head)) for head in left]
            measured = self.scores(tried)
            best = min(range(len(left)), key=lambda index: measured[index]["loss"])
            head = left.pop(best)
            gone = (*gone, head)
            curve.append({"head": head.name, "share": len(gone) / n_heads, "measures": measured[best]})
        return curve

    def _others(self, batch: Examples) -> Outputs:
        """What every part computes for the example before each in the batch, for the first that of the last one."""
        outputs: Outputs = {}

        def keep(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> None:
            outputs[sublayer, name] = y.roll(1, 0)

        with hooked(self.sublayers, ["heads", "output"], keep):
            forward(self.model, batch)
        return outputs


def gradient_importance(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> list[float]:
    """How much the loss depends on each head, by its gradient (Michel et al. 2019, arXiv:1905.10650, equation 2).

    The mean over targets of |d loss / d xi|, with xi a factor of the head's output that is 1, summed by example. In the
    order of ``heads_of``; the loss is the task's, in its unit.
    """
    factors: dict[Sublayer, Tensor] = {}
    totals = {sublayer: torch.zeros(sublayer.n_heads, dtype=torch.float64) for sublayer in sublayers}

    def scale(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> Tensor:
        factors[sublayer] = torch.ones(*y.shape[:2], 1, 1, dtype=y.dtype, device=y.device, requires_grad=True)
        return y * factors[sublayer]

    n_targets = 0
    with hooked(sublayers, ["heads"], scale), torch.enable_grad():
        for batch in validation.batches():
            factors.clear()
            logits = forward(model, batch)
            count = validation.task.count_targets(batch)
            loss = validation.task.loss(logits, batch) * count
            used = list(factors.items())
            if not used or not count:
                continue
            gradients = torch.autograd.grad(loss, [factor for _, factor in used], allow_unused=True)
            for (sublayer, _), gradient in zip(used, gradients, strict=True):
                if gradient is not None:
                    totals[sublayer] += gradient.double().flatten(1).abs().sum(0).cpu()
            n_targets += count
    return [float(totals[head.sublayer][head.index]) / max(1, n_targets) for head in heads_of(sublayers)]
