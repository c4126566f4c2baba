"""The scores that enter the softmax of attention.

Shapes: B texts, H heads of queries, G heads of keys, L queries, S keys, D features of a head.
"""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...registry import register
from ..backend import Backend, MaskedSoftmax
from .contract import Course, Looks, Observer, slope

BACKEND, SOFTMAX = inspect.signature(Backend.forward), inspect.signature(MaskedSoftmax.forward)
AT_ONCE = 2**22
"""Scores held in memory at a time."""


@register(
    "observer",
    "attention",
    source="Wortsman et al. 2023, arXiv:2309.14322; Dehghani et al. 2023, arXiv:2302.05442; Zhai et al. 2023, "
    "arXiv:2303.06296",
)
class AttentionLogits(Observer):
    """The largest score of any query and key, over layers and heads: scaled, capped and biased, as softmax sees it.

    Only keys that the query may look at count. It is computed anew from what the mixer hands to its backend, which may
    never hold the scores itself. ``attention_logit_growth`` is the slope of the logarithm over the last half of the
    run, per 1000 steps; null with fewer than three looks there.
    """

    def __init__(self) -> None:
        self.looks = Looks()
        self.largest: list[Tensor] = []

    def watch(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.largest = []
        for module in model.modules():
            if isinstance(module, Backend):
                yield module.register_forward_pre_hook(self.before_backend, with_kwargs=True)
            elif isinstance(module, MaskedSoftmax):
                yield module.register_forward_pre_hook(self.before_softmax, with_kwargs=True)

    def before_backend(self, module: nn.Module, arguments: Any, named: Any) -> None:
        given = BACKEND.bind(module, *arguments, **named)
        given.apply_defaults()
        a = given.arguments
        self.largest.append(largest_score(a["q"], a["k"], a["bias"], a["context"].mask, a["scale"], a["soft_cap"]))

    def before_softmax(self, module: nn.Module, arguments: Any, named: Any) -> None:
        given = SOFTMAX.bind(module, *arguments, **named).arguments
        self.largest.append(given["scores"].masked_fill(~given["mask"], float("-inf")).amax())

    def look(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.largest:  # no layer attends
            return {}
        largest = torch.stack([score.double() for score in self.largest]).max().item()
        self.looks.add(step, largest)
        return {"attention_logit_max": largest}

    def summary(self, course: Course) -> dict[str, Any]:
        late = [(step / 1000, math.log(value)) for step, value in self.looks.last_half(course.max_steps) if value > 0]
        return {
            "attention_logit_max": max(self.looks.values, default=None),
            "attention_logit_growth": slope(late) if len(late) >= 3 else None,
        }


def largest_score(
    q: Tensor, k: Tensor, bias: Tensor | None, mask: Tensor, scale: float, soft_cap: float | None
) -> Tensor:
    """The largest of the scores of queries (B, H, L, D) and keys (B, G, S, D) where the mask lets them meet.

    ``bias`` (B or 1, H, L, S), ``mask`` (B or 1, 1, L, S). In float32 at least, in parts that fit into memory.
    """
    precise = torch.promote_types(q.dtype, torch.float32)
    n_texts, n_heads, n_queries, _ = q.shape
    rows = max(1, AT_ONCE // (n_texts * n_heads * k.size(2)))
    parts = []
    with torch.autocast(q.device.type, enabled=False):
        q, k = q.to(precise), k.to(precise).repeat_interleave(n_heads // k.size(1), dim=1)
        for start in range(0, n_queries, rows):
            part = slice(start, start + rows)
            scores = q[:, :, part] @ k.mT * scale
            if soft_cap is not None:
                scores = soft_cap * (scores / soft_cap).tanh()
            if bias is not None:
                scores = scores + bias[:, :, part if bias.size(2) > 1 else slice(None)]
            parts.append(scores.masked_fill(~mask[:, :, part if mask.size(2) > 1 else slice(None)], -math.inf).amax())
    return torch.stack(parts).max()
