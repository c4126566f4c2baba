"""When a training loss that stays finite has diverged all the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

SHORTEST = 20
"""Steps below which nothing can be said."""
SMALLEST_WINDOW = 5
NOISE_OF_A_DIFFERENCE = 1.4826 / 2**0.5
"""From the median distance of neighbors to a standard deviation, where the noise is normal."""
NOISE_OF_A_MEDIAN = 1.2533
"""Times the standard deviation over the root of how many there are, the same."""
DEVIATIONS = 8.0
SMALLEST_RISE = 0.1
"""In nats: a solved task whose few mistakes meet in the last batches is still solved."""


@dataclass(frozen=True)
class Divergence:
    """A loss that came back up: the step from which it stayed there, and the rule with its numbers, in one line."""

    step: int
    reason: str


def detect_divergence(losses: Sequence[float]) -> Divergence | None:
    """Whether finite training losses, one per step, ended more than half-way back up from their lowest to their first.

    All is told by medians, so that no single batch decides: ``first`` is that of the first 5 losses, ``lowest`` the
    smallest over windows of 5 % of the steps (at least 5), ``last`` that of the last such window. The run has diverged
    when last - lowest is larger than all three of

    - half of first - lowest,
    - 8 standard deviations of a window's median, as far as neighboring steps tell the noise: a loss that only scatters
      has a lowest window too,
    - 0.1 nats.

    A loss that never falls below its first and ends that far above its lowest has diverged as well; one that never
    leaves the noise has not. Runs of fewer than 20 steps are not judged.
    """
    n = len(losses)
    if n < SHORTEST:
        return None
    size = max(SMALLEST_WINDOW, n // 20)
    ends = range(n, size - 1, -max(1, size // 10))
    smoothed = {end: median(losses[end - size : end]) for end in reversed(ends)}
    first, lowest, last = median(losses[:SMALLEST_WINDOW]), min(smoothed.values()), smoothed[n]
    noise = NOISE_OF_A_DIFFERENCE * median(abs(b - a) for a, b in pairwise(losses))
    scatter = NOISE_OF_A_MEDIAN * noise / size**0.5
    allowed = max((first - lowest) / 2, DEVIATIONS * scatter, SMALLEST_RISE)
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
        f"at least what noise does ({DEVIATIONS * scatter:.2g}) and {SMALLEST_RISE:g}",
    )
