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
    scorers = [Scorer(validation.task, [""]) for _ in stack.blocks]
    for batch in validation.batches():
        for scorer, stream in zip(scorers, _last_streams(model, sublayers, batch).values(), strict=True):
            x = stack.norm(stack.blocks[-1].residuals[-1].reduce(stream))
            scorer.update("", model.head(x, batch.get("padding")), batch["targets"])
    return [{"layer": layer, "measures": scorer.compute()} for layer, scorer in enumerate(scorers)]


def _last_stack(model: nn.Module) -> Stack:
    """The one whose output the head reads."""
    return [module for module in model.modules() if isinstance(module, Stack)][-1]


def _last_streams(model: nn.Module, sublayers: Sequence[Sublayer], batch: Examples) -> dict[str, Tensor]:
    """By layer of the last stack, the stream after it at the tokens of the batch, (B, L, M) or (B, L, N, M).

    Without the tokens of the source, which a prefix decoder reads before them.
    """
    streams: dict[str, Tensor] = {}
    first = -batch["tokens"].size(1) if "tokens" in batch else 0

    def keep(sublayer: Sublayer, name: SiteName, x: Tensor, context: ForwardContext) -> None:
        streams[sublayer.place] = x[:, first:]

    blocks = set(_last_stack(model).blocks)
    with hooked([each for each in sublayers if each.block in blocks], ["stream"], keep):
        forward(model, batch)
    return streams


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
    """By layer, the stream (N, M) after it at the first tokens of the usual validation set, without padding.

    Of the stack whose output the head reads, and not at the tokens of a source: so models of different architectures
    have streams at the same tokens.
    """
    found: dict[str, list[Tensor]] = {}
    n_tokens = 0
    for batch in validation.batches():
        for place, stream in _last_streams(model, sublayers, batch).items():
            tokens = stream.flatten(2)
            tokens = tokens[batch["padding"]] if "padding" in batch else tokens.flatten(0, 1)
            found.setdefault(place, []).append(tokens.cpu())
        n_tokens += len(tokens)
        if n_tokens >= N_TOKENS:
            break
    return {place: torch.cat(parts)[:N_TOKENS].double() for place, parts in found.items()}


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of (N, M) and (N, any), 1 where one is the other rotated and scaled; 0 where one does not vary.

    Kornblith et al. 2019, arXiv:1905.00414.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    own = (x.mT @ x).norm() * (y.mT @ y).norm()
    return float((y.mT @ x).square().sum() / own) if own > 0 else 0.0
