"""Whether a machine was too busy for its times to be trusted.

On a processor a step of one thread keeps it busy: where the thread ran for less than the step took, other programs ran
in between. On any device, equal steps that take very different times were disturbed.
"""

from collections.abc import Sequence
from statistics import median

LEAST_RUNNING = 0.9
"""A thread that ran for less of the time of its steps was interrupted by others."""
MAX_SPREAD = 1.5
"""Of the slower half of equal steps to the faster half, their medians."""


def reason_busy(seconds: Sequence[float], running: float | None = None) -> str | None:
    """Why times are not to be trusted, in words; None where nothing speaks against them.

    Args:
        seconds: what each of several equal steps took.
        running: for how many of all these seconds the thread ran; None where it waits for others or for a device.
    """
    if running is not None and running < LEAST_RUNNING * sum(seconds):
        taken = 1 - running / sum(seconds)
        return f"other programs took {taken:.0%} of the time of the unprofiled steps"
    ordered = sorted(seconds)
    half = len(ordered) // 2
    if half and median(ordered[-half:]) > MAX_SPREAD * median(ordered[:half]):
        fast, slow = 1e3 * median(ordered[:half]), 1e3 * median(ordered[-half:])
        return f"half of the equal unprofiled steps took about {fast:.3g} ms, the other half about {slow:.3g} ms"
    return None
