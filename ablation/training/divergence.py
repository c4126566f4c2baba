"""Divergence of a training loss that stays finite: it falls, rises again and does not come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

MIN_STEPS = 20
"""Shorter runs are not tested."""
MIN_WINDOW = 5
NOISE_OF_A_DIFFERENCE = 1.4826 / 2**0.5
"""Standard deviation of normal noise over the median distance between neighboring steps."""
NOISE_OF_A_MEDIAN = 1.2533
"""Standard deviation of a median of n normal values, times sqrt(n), over that of one value."""
DEVIATIONS = 8.0
MIN_RISE = 0.1
"""In nats: a solved task whose few errors fall into the last batches has not diverged."""


@dataclass(frozen=True)
class Divergence:
    """A loss that rose and stayed high: the step from which it did, and the rule with its numbers, in one line."""

    step: int
    reason: str


def detect_divergence(losses: Sequence[float]) -> Divergence | None:
    """Whether the finite training losses of all steps ended more than half of the way back up from lowest to first.

    Medians are compared, so that no single batch decides: ``first`` is the median of the first 5 losses, ``lowest`` the
    smallest over windows of 5 % of the steps (at least 5), ``last`` that of the last window. The run has diverged
    when last - lowest is larger than all of

    - half of first - lowest,
    - 8 standard deviations of a window's median, estimated from the differences of neighboring steps, since a loss that
      is noise alone has a lowest window too,
    - 0.1 nats.

    A loss that never falls below its first and ends that far above its lowest has diverged as well; one that stays
    within the noise has not. Runs of fewer than 20 steps are not tested.
    """
    n = len(losses)
    if n < MIN_STEPS:
        return None
    size = max(MIN_WINDOW, n // 20)
    ends = range(n, size - 1, -max(1, size // 10))
    smoothed = {end: median(losses[end - size : end]) for end in reversed(ends)}
    first, lowest, last = median(losses[:MIN_WINDOW]), min(smoothed.values()), smoothed[n]
    noise = NOISE_OF_A_DIFFERENCE * median(abs(b - a) for a, b in pairwise(losses))
    median_noise = NOISE_OF_A_MEDIAN * noise / size**0.5
    allowed = max((first - lowest) / 2, DEVIATIONS * median_noise, MIN_RISE)
    if last - lowest <= allowed:
        return None
    since = n
    for end in sorted(smoothed, reverse=True):
        if smoothed[end] - lowest <= allowed:
            break
        since = end
    return Divergence(
        since,
        f"the training loss rose for good: {last:.4g} at the end (median of the last {size} steps) lies more than "
        f"{allowed:.3g} above its lowest {lowest:.4g}; allowed is half of its fall from {first:.4g}, "
        f"at least what noise does ({DEVIATIONS * median_noise:.2g}) and {MIN_RISE:g}",
    )
