"""How sharp attention is before anything has been learnt.

Shapes: B texts, H heads of queries, L queries, S keys.
"""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from ...components.backend import Backend
from ...registry import register
from .contract import Probe, Subject

FORWARD = inspect.signature(Backend.forward)


@torch.no_grad()
def attention_weights(subject: Subject) -> tuple[Tensor, Tensor]:
    """Of the first layer, with the mask: both (B, H, L, S). Errors: ValueError where no backend attends."""
    seen: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, arguments: Any, named: Any) -> None:
        given = FORWARD.bind(module, *arguments, **named)
        given.apply_defaults()
        a = given.arguments
        k = a["k"].repeat_interleave(a["q"].size(1) // a["k"].size(1), dim=1)
        scores = a["q"] @ k.mT * a["scale"]
        if a["soft_cap"] is not None:
            scores = a["soft_cap"] * (scores / a["soft_cap"]).tanh()
        if a["bias"] is not None:
            scores = scores + a["bias"]
        mask = a["context"].mask.expand_as(scores)
        seen.append((scores.masked_fill(~mask, -math.inf).softmax(-1), mask))

    handles = [
        module.register_forward_pre_hook(look, with_kwargs=True)
        for module in subject.model.modules()
        if isinstance(module, Backend)
    ]
    try:
        subject.scores(subject.examples())
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ValueError(f"attention weights: mixer {subject.config.model.mixer.name!r} has none")
    return seen[0]


@register(
    "probe", "attention_entropy", source="Vaswani et al. 2017, arXiv:1706.03762; Zhai et al. 2023, arXiv:2303.06296"
)
class AttentionEntropy(Probe):
    """Entropy of the first layer's attention weights, of the most that is possible: 1 looks everywhere alike, 0 at one.

    Mean over texts, heads and the queries that may look at eight keys or more.
    """

    def __call__(self, subject: Subject) -> float:
        weights, mask = attention_weights(subject)
        entropy = -(weights * weights.clamp_min(1e-300).log()).sum(-1)
        n_keys = mask.sum(-1)
        return float((entropy / n_keys.to(entropy.dtype).log())[n_keys >= 8].mean())


@register("probe", "softmax_gradient", source="Vaswani et al. 2017, arXiv:1706.03762, footnote 4")
class SoftmaxGradient(Probe):
    """Sum of w (1 - w) over the first layer's attention weights: how much a change of a score can still do.

    It is the trace of the softmax's derivative; near 0 it is saturated. Mean over texts, heads and queries as above.
    """

    better = "higher"

    def __call__(self, subject: Subject) -> float:
        weights, mask = attention_weights(subject)
        return float((weights * (1 - weights)).sum(-1)[mask.sum(-1) >= 8].mean())
