"""The residual stream: what could be read from it layer by layer, what is added to it, and how alike two streams are.

Shapes: B sequences, L tokens, N tokens of all of them, M features of the model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..components.architecture.base import Architecture
from ..components.architecture.stack import Stack
from ..components.context import ForwardContext
from ..tasks.base import Examples
from .evaluation import Scorer, Validation, forward
from .sites import SiteName, Sublayer, hooked

N_TOKENS = 1024
"""Tokens whose streams are compared: the first of the usual validation set."""


@torch.no_grad()
def logit_lens(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> list[dict[str, Any]]:
    """By layer, the measures of what the last norm and the head would make of the stream (nostalgebraist 2020).

    Of the stack whose output the head reads; the last layer has the model's own. Empty for a model with other heads
    than this package's.
    """
    if not isinstance(model, Architecture):
        return []
    stack = _last_stack(model)
    last = [each for each in sublayers if any(each.block is block for block in stack.blocks)]
    streams: dict[int, Tensor] = {}

    def keep(sublayer: Sublayer, name: SiteName, x: Tensor, context: ForwardContext) -> None:
        streams[sublayer.layer] = x

    scorers = [Scorer(validation.task, [""]) for _ in stack.blocks]
    with hooked(last, ["stream"], keep):
        for batch in validation.batches():
            forward(model, batch)
            n_tokens = batch["tokens"].size(1) if "tokens" in batch else None
            for layer, scorer in enumerate(scorers):
                x = stack.norm(stack.blocks[-1].residuals[-1].reduce(streams[layer]))
                x = x if n_tokens is None else x[:, -n_tokens:]  # a prefix decoder reads the source before
                scorer.update("", model.head(x, batch.get("padding")), batch["targets"])
    return [{"layer": layer, "measures": scorer.compute()} for layer, scorer in enumerate(scorers)]


def _last_stack(model: nn.Module) -> Stack:
    return [module for module in model.modules() if isinstance(module, Stack)][-1]


@torch.no_grad()
def added_norms(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> list[dict[str, Any]]:
    """By sublayer, the norm of what it adds over that of the stream after its layer, averaged over tokens.

    A residual of several streams has one norm over all of them.
    """
    totals = {sublayer: torch.zeros(2, dtype=torch.float64) for sublayer in sublayers}
    added: dict[Sublayer, Tensor] = {}

    def read(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> None:
        if name == "output":
            added[sublayer] = y.double().norm(dim=-1)
            return
        stream = y.double().flatten(2).norm(dim=-1)
        mask = torch.ones_like(stream) if context.padding is None else context.padding.double()
        for other in [each for each in added if each.block is sublayer.block]:
            ratio = added.pop(other) / stream.clamp(min=torch.finfo(torch.float64).tiny)
            totals[other] += torch.stack([(ratio * mask).sum(), mask.sum()]).cpu()

    with hooked(sublayers, ["output", "stream"], read):
        for batch in validation.batches():
            forward(model, batch)
    return [
        {
            "part": each.name,
            "stack": each.stack,
            "layer": each.layer,
            "sublayer": each.kind,
            "norm": float(total[0] / total[1]),
        }
        for each, total in totals.items()
        if total[1]
    ]


@torch.no_grad()
def streams_of(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> dict[str, Tensor]:
    """By layer, the stream (N, M) after it at the first tokens of the usual validation set, without padding."""
    found: dict[str, list[Tensor]] = {}

    def keep(sublayer: Sublayer, name: SiteName, x: Tensor, context: ForwardContext) -> None:
        tokens = x.flatten(2)
        tokens = tokens.flatten(0, 1) if context.padding is None else tokens[context.padding]
        found.setdefault(sublayer.place, []).append(tokens.cpu())

    n_tokens = 0
    with hooked(sublayers, ["stream"], keep):
        for batch in validation.batches():
            forward(model, batch)
            n_tokens += _count(batch)
            if n_tokens >= N_TOKENS:
                break
    return {place: torch.cat(parts)[:N_TOKENS].double() for place, parts in found.items()}


def _count(batch: Examples) -> int:
    return int(batch["padding"].sum()) if "padding" in batch else batch["targets"].numel()


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of (N, M) and (N, any), 1 where one is the other rotated and scaled; 0 where one does not vary.

    Kornblith et al. 2019, arXiv:1905.00414.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    own = (x.mT @ x).norm() * (y.mT @ y).norm()
    return float((y.mT @ x).square().sum() / own) if own > 0 else 0.0
