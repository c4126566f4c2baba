"""Monitors of the forward pass: the residual stream, the attention logits, and the normalizer of the output's softmax.

Shapes: B sequences, L tokens, M features of the model.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...components.attention_backend import AttentionBackend, AttentionInputs
from ...registry import register
from .base import Monitor, Series, TrainingHistory, blocks_of, slope


@register("monitor", "activations", source="Sun et al. 2024, arXiv:2402.17762; Sun et al. 2025, arXiv:2502.05795")
class Activations(Monitor):
    """The root mean square of the residual stream after each block, without padding, at the last measurement.

    A residual of several streams has one over all of them.
    """

    def __init__(self) -> None:
        self.squares: list[Tensor] = []
        self.last: list[float] = []
        """By block, in the last measurement."""

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.squares = []
        for stack in blocks_of(model):
            for block in stack:
                yield block.register_forward_hook(self.after_block)

    def after_block(self, block: nn.Module, arguments: Any, y: Tensor) -> None:
        """The hook of a block: keep the mean square of its output y (B, L, M), padding aside."""
        padding = arguments[1].padding
        tokens = y if padding is None else y[padding]
        self.squares.append(tokens.double().square().mean())

    def measure(self, model: nn.Module, step: int, logits: Tensor | None) -> dict[str, float]:
        if not self.squares:
            return {}
        self.last = torch.stack(self.squares).sqrt().tolist()
        return {"activation_rms_max": max(self.last)}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        return {"activation_by_depth": self.last or None}


CHUNK_SIZE = 2**22
"""Attention logits held in memory at a time."""


@register(
    "monitor",
    "attention",
    source="Wortsman et al. 2023, arXiv:2309.14322; Dehghani et al. 2023, arXiv:2302.05442; Zhai et al. 2023, "
    "arXiv:2303.06296",
)
class AttentionLogits(Monitor):
    """The largest attention logit of any query and key, over layers and heads: scaled, capped and with its bias.

    Only keys that the query may attend to count. It is computed again from what the mixer gives to its backend, since
    fused backends never hold the logits. ``attention_logit_growth`` is the slope of the logarithm over the last half of
    the run, per 1000 steps; null with fewer than three measurements there.
    """

    def __init__(self) -> None:
        self.series = Series()
        self.largest: list[Tensor] = []

    def register_hooks(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.largest = []
        for module in model.modules():
            if isinstance(module, AttentionBackend):
                yield module.register_forward_pre_hook(self.before_backend)

    def before_backend(self, module: nn.Module, arguments: Any) -> None:
        """The hook of a backend: keep the largest logit of what it is given."""
        self.largest.append(largest_logit(arguments[0]))

    def measure(self, model: nn.Module, step: int, logits: Tensor | None) -> dict[str, float]:
        if not self.largest:  # no layer has attention
            return {}
        largest = torch.stack([logit.double() for logit in self.largest]).max().item()
        self.series.add(step, largest)
        return {"attention_logit_max": largest}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        values = self.series.last_half(history.max_steps)
        logarithms = [(step / 1000, math.log(value)) for step, value in values if value > 0]
        return {
            "attention_logit_max": max(self.series.values, default=None),
            "attention_logit_growth": slope(logarithms) if len(logarithms) >= 3 else None,
        }


def largest_logit(inputs: AttentionInputs) -> Tensor:
    """The largest attention logit where the mask is True, in float32 at least, in chunks that fit into memory."""
    with torch.no_grad():
        bias = inputs.whole_bias
    q, k, mask = inputs.q, inputs.k, inputs.mask
    dtype = torch.promote_types(q.dtype, torch.float32)
    n_sequences, n_heads, n_queries, _ = q.shape
    rows = max(1, CHUNK_SIZE // (n_sequences * n_heads * k.size(2)))
    maxima = []
    with torch.autocast(q.device.type, enabled=False):
        q, k = q.to(dtype), k.to(dtype).repeat_interleave(n_heads // k.size(1), dim=1)
        for start in range(0, n_queries, rows):
            chunk = slice(start, start + rows)
            logits = q[:, :, chunk] @ k.mT * inputs.scale
            if inputs.soft_cap is not None:
                logits = inputs.soft_cap * (logits / inputs.soft_cap).tanh()
            if bias is not None:
                logits = logits + bias[:, :, chunk if bias.size(2) > 1 else slice(None)]
            allowed = mask[:, :, chunk if mask.size(2) > 1 else slice(None)]
            maxima.append(logits.masked_fill(~allowed, -math.inf).amax())
    return torch.stack(maxima).max()


@register("monitor", "log_z", source="Chowdhery et al. 2022, arXiv:2204.02311; Wortsman et al. 2023, arXiv:2309.14322")
class LogZ(Monitor):
    """log Z = log sum exp(logits), its mean over targets: it drifts, since the softmax ignores a shift of all logits.

    ``log_z`` is the last measurement, ``log_z_growth`` that less the first one in the last half of the run.
    """

    def __init__(self) -> None:
        self.series = Series()

    @classmethod
    def needs_forward(cls) -> bool:
        return True

    def measure(self, model: nn.Module, step: int, logits: Tensor | None) -> dict[str, float]:
        if logits is None:
            return {}
        log_z = logits.logsumexp(-1).mean().item()
        self.series.add(step, log_z)
        return {"log_z": log_z}

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        values = [value for _, value in self.series.last_half(history.max_steps)]
        return {
            "log_z": self.series.values[-1] if self.series.values else None,
            "log_z_growth": values[-1] - values[0] if len(values) > 1 else None,
        }
