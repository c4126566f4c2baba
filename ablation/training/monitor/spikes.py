"""Jumps of the training loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...registry import register
from .base import Monitor, TrainingHistory

SHORTEST = 300
"""Steps below which a run is too short to be judged."""
LARGEST_WINDOW = 1000
DEVIATIONS = 7.0
MAD_TO_SD = 1.4826
"""Of a normal distribution."""
SMALLEST_SD = 1e-3
"""As a share of the first loss: where a task is solved, one mistake is no spike."""
AT_ONCE = 2**22


@register("monitor", "loss_spikes", source="OLMo Team 2024, arXiv:2501.00656; window and robust SD: this project")
class LossSpikes(Monitor):
    """The share of steps whose loss lies 7 standard deviations above where those before them led, the spike score.

    Before a step stand min(1000, 10 % of the steps) others: their median, moved on by their trend, is what is expected,
    and 1.4826 times the median distance from that line, at least 0.1 % of the first loss, is the deviation. Trend is
    half against half, by medians, so that an earlier spike moves nothing. Null for runs of fewer than 300 steps.
    """

    def summary(self, history: TrainingHistory) -> dict[str, Any]:
        n_spikes = count_spikes(history.losses)
        judged = len(history.losses) - window_of(len(history.losses))
        return {"spikes": n_spikes, "spike_score": None if n_spikes is None else n_spikes / judged}


def window_of(n_steps: int) -> int:
    """How many steps a step is judged by; even, so that it has halves."""
    return min(LARGEST_WINDOW, n_steps // 10) // 2 * 2


def count_spikes(losses: Sequence[float]) -> int | None:
    """How many of the losses, one per step, are spikes. None: too few to say."""
    if len(losses) < SHORTEST:
        return None
    size = window_of(len(losses))
    x = torch.tensor(losses, dtype=torch.float64)
    windows, judged = x.unfold(0, size, 1)[:-1], x[size:]
    place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2  # from the middle of the window
    n_spikes, rows = 0, max(1, AT_ONCE // size)
    for start in range(0, len(judged), rows):
        before, loss = windows[start : start + rows], judged[start : start + rows]
        middle, early, late = (_median(part) for part in (before, before[:, : size // 2], before[:, size // 2 :]))
        trend = (late - early) / (size // 2)
        deviation = MAD_TO_SD * _median((before - middle - trend * place).abs())
        above = loss - (middle + trend * (size + 1) / 2).squeeze(-1)
        least = DEVIATIONS * deviation.squeeze(-1).clamp(min=SMALLEST_SD * abs(losses[0]))
        n_spikes += int(((above >= least) & (above > 0)).sum())
    return n_spikes


def _median(rows: Tensor) -> Tensor:
    """(n, size) -> (n, 1); the lower one of the two in the middle."""
    return rows.median(-1, keepdim=True).values
