"""How large the stream is after each block.

Shapes: B texts, L tokens, M features of the model.
"""

# DOC-TO-MERGE: 'The scores that enter the softmax of attention.\n\nShapes: B texts, H heads of queries, G heads of keys, L queries, S keys, D features of a head.\n'

# DOC-TO-MERGE: "The normalizer of the output's softmax."

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...components.attention_backend import AttentionBackend, MaskedSoftmax
from ...registry import register
from .base import Monitor, Series, TrainingHistory, blocks_of, slope


@register("monitor", "activations", source="Sun et al. 2024, arXiv:2402.17762; Sun et al. 2025, arXiv:2502.05795")
class Activations(Monitor):
    """The root of the mean square of the stream after each block, where there are tokens; in the last look.

    Of a residual of several streams it is that of all of them.
    """

    def __init__(self) -> None:
        self.squares: list[Tensor] = []
        self.last: list[float] = []

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.squares = []
        for stack in blocks_of(model):
            for block in stack:
                yield block.register_forward_hook(self.after_block)

    def after_block(self, block: nn.Module, arguments: Any, y: Tensor) -> None:
        padding = arguments[1].padding
        tokens = y if padding is None else y[padding]
        self.squares.append(tokens.double().square().mean())

    def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.squares:
            return {}
        self.last = torch.stack(self.squares).sqrt().tolist()
        return {"activation_rms_max": max(self.last)}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        return {"activation_by_depth": self.last or None}


BACKEND, SOFTMAX = inspect.signature(AttentionBackend.forward), inspect.signature(MaskedSoftmax.forward)
AT_ONCE = 2**22
"""Scores held in memory at a time."""


@register(
    "monitor",
    "attention",
    source="Wortsman et al. 2023, arXiv:2309.14322; Dehghani et al. 2023, arXiv:2302.05442; Zhai et al. 2023, "
    "arXiv:2303.06296",
)
class AttentionLogits(Monitor):
    """The largest score of any query and key, over layers and heads: scaled, capped and biased, as softmax sees it.

    Only keys that the query may look at count. It is computed anew from what the mixer hands to its backend, which may
    never hold the scores itself. ``attention_logit_growth`` is the slope of the logarithm over the last half of the
    run, per 1000 steps; null with fewer than three looks there.
    """

    def __init__(self) -> None:
        self.series = Series()
        self.largest: list[Tensor] = []

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.largest = []
        for module in model.modules():
            if isinstance(module, AttentionBackend):
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

    def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.largest:  # no layer attends
            return {}
        largest = torch.stack([score.double() for score in self.largest]).max().item()
        self.series.add(step, largest)
        return {"attention_logit_max": largest}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        late = [(step / 1000, math.log(value)) for step, value in self.series.last_half(history.max_steps) if value > 0]
        return {
            "attention_logit_max": max(self.series.values, default=None),
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


@register("monitor", "log_z", source="Chowdhery et al. 2022, arXiv:2204.02311; Wortsman et al. 2023, arXiv:2309.14322")
class LogZ(Monitor):
    """log Z = log sum exp(scores), its mean over tokens: it drifts where nothing holds the scores' level.

    ``log_z`` is that of the last look, ``log_z_growth`` how far it came since the first look in the last half.
    """

    def __init__(self) -> None:
        self.series = Series()

    @classmethod
    def needs_forward(cls) -> bool:
        return True

    def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if scores is None:
            return {}
        log_z = scores.logsumexp(-1).mean().item()
        self.series.add(step, log_z)
        return {"log_z": log_z}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        late = [value for _, value in self.series.last_half(history.max_steps)]
        return {
            "log_z": self.series.values[-1] if self.series.values else None,
            "log_z_growth": late[-1] - late[0] if len(late) > 1 else None,
        }
