"""The monitor of spikes: sudden jumps of the training loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...registry import register
from .base import Monitor, TrainingHistory

MIN_STEPS = 300
"""Shorter runs have no spike score."""
MAX_WINDOW = 1000
DEVIATIONS = 7.0
MAD_TO_SD = 1.4826
"""Standard deviation over median absolute deviation, of a normal distribution."""
MIN_SD = 1e-3
"""As a fraction of the first loss: where a task is solved, one error is no spike."""
CHUNK_SIZE = 2**22
"""Losses in windows that are held in memory at a time."""


@register("monitor", "loss_spikes", source="OLMo Team 2024, arXiv:2501.00656; window and robust SD: this project")
class LossSpikes(Monitor):
    """The spike score: the fraction of steps whose loss lies 7 standard deviations above what is expected.

    The expectation comes from the window of the min(1000, 10 % of the steps) steps before: their median, extrapolated
    by their trend. The standard deviation is 1.4826 times the median distance from that line, and at least 0.1 % of the
    first loss. The trend is the median of the second half of the window less that of the first, so that an earlier
    spike does not shift it. Null for runs of fewer than 300 steps.
    """

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        n_spikes = count_spikes(history.losses)
        n_tested = len(history.losses) - window_size(len(history.losses))
        return {"spikes": n_spikes, "spike_score": None if n_spikes is None else n_spikes / n_tested}


def window_size(n_steps: int) -> int:
    """The number of steps before a step from which its loss is expected; even, so that the window has halves."""
    return min(MAX_WINDOW, n_steps // 10) // 2 * 2


def count_spikes(losses: Sequence[float]) -> int | None:
    """How many of the losses, one per step, are spikes; None for fewer than 300 steps."""
    if len(losses) < MIN_STEPS:
        return None
    size = window_size(len(losses))
    x = torch.tensor(losses, dtype=torch.float64)
    windows, tested = x.unfold(0, size, 1)[:-1], x[size:]
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2  # from the middle of the window
    n_spikes, rows = 0, max(1, CHUNK_SIZE // size)
    for start in range(0, len(tested), rows):
        before, loss = windows[start : start + rows], tested[start : start + rows]
        middle, early, late = (_median(part) for part in (before, before[:, : size // 2], before[:, size // 2 :]))
        trend = (late - early) / (size // 2)
        deviation = MAD_TO_SD * _median((before - middle - trend * offset).abs())
        excess = loss - (middle + trend * (size + 1) / 2).squeeze(-1)
        threshold = DEVIATIONS * deviation.squeeze(-1).clamp(min=MIN_SD * abs(losses[0]))
        n_spikes += int(((excess >= threshold) & (excess > 0)).sum())
    return n_spikes


def _median(rows: Tensor) -> Tensor:
    """The median of each row, (n, size) -> (n, 1); of an even size, the lower one of the two in the middle."""
    return rows.median(-1, keepdim=True).values
