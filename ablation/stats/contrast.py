"""A contrast: the difference between two cells (or two sets of cells), paired by seed, with its interval.

Every statistic is computed per seed first; then a Student t over the seeds gives the interval (scipy's paired t). With
3 to 10 seeds this is the interval whose coverage is 95 % whatever the correlation between seeds; bootstrap intervals
exclude the truth in a quarter of comparisons at 3 seeds, which is why none is offered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import correlation as pearson
from statistics import fmean

CONFIDENCE = 0.95
MINIMUM_SEEDS = 3

# Spread below this share of the values' size is the rounding of float64, not noise of training.
ROUNDING = 1e-12
# Outside these sizes a square leaves the range of float64 and no standard deviation exists.
SMALLEST, LARGEST = 1e-100, 1e100


@dataclass(frozen=True)
class Contrast:
    """The mean over seeds of (value - reference), in the unit of the metric.

    ``interval`` is None where none may be given, and ``note`` then says why in words. ``p`` is two-sided, of the paired
    t; None without an interval, and None where every seed shows the same difference, as then there is no noise to test.
    """

    delta: float | None
    pairs: int
    interval: tuple[float, float] | None = None
    p: float | None = None
    note: str | None = None
    differences: tuple[float, ...] = field(default=(), repr=False)
    """Seed by seed, where both have a value."""

    @property
    def constant(self) -> bool:
        """Whether every seed shows the same difference, so that the interval is a single point."""
        return self.interval is not None and self.interval[0] == self.interval[1]

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or wholly below zero."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def plural(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def paired(
    values: Sequence[float | None],
    references: Sequence[float | None],
    obstacle: str | None = None,
    confidence: float = CONFIDENCE,
) -> Contrast:
    """The contrast of two sequences that run over the same seeds in the same order; None where a seed has no value.

    An ``obstacle`` is a reason, in words, why no interval may be given although there may be values: runs that did not
    complete are not missing at random, so an interval over the survivors would be too favorable.
    """
    pairs = [(v, r) for v, r in zip(values, references, strict=True) if v is not None and r is not None]
    if not pairs:
        return Contrast(None, 0, note=obstacle or "no seed has a value in both")
    differences = [value - reference for value, reference in pairs]
    rounding = max(ROUNDING * max(abs(number) for pair in pairs for number in pair), SMALLEST)
    delta = fmean(differences)
    delta = 0.0 if abs(delta) <= rounding else delta
    if obstacle is None and len(pairs) < len(values):
        obstacle = f"no value in {len(values) - len(pairs)} of {plural(len(values), 'seed')}"
    if obstacle is None and len(pairs) < MINIMUM_SEEDS:
        obstacle = f"{plural(len(pairs), 'seed')}: an interval needs {MINIMUM_SEEDS}"
    if obstacle is not None:
        return Contrast(delta, len(pairs), note=obstacle, differences=tuple(differences))
    if max(differences) - min(differences) <= rounding:
        return Contrast(delta, len(pairs), (delta, delta), differences=(delta,) * len(pairs))
    return _student(pairs, delta, confidence)


def correlation(values: Sequence[float | None], references: Sequence[float | None]) -> float | None:
    """Pearson's, over the seeds that have a value in both: what pairing them gains.

    None below three such seeds, and where either does not vary.
    """
    pairs = [(v, r) for v, r in zip(values, references, strict=True) if v is not None and r is not None]
    if len(pairs) < MINIMUM_SEEDS or min(len({v for v, _ in pairs}), len({r for _, r in pairs})) < 2:
        return None
    return pearson([v for v, _ in pairs], [r for _, r in pairs])


def _student(pairs: list[tuple[float, float]], delta: float, confidence: float) -> Contrast:
    from scipy.stats import ttest_rel  # a second to import, so only where an interval is computed

    test = ttest_rel([value for value, _ in pairs], [reference for _, reference in pairs])
    low, high = test.confidence_interval(confidence)
    differences = tuple(value - reference for value, reference in pairs)
    return Contrast(delta, len(pairs), (float(low), float(high)), float(test.pvalue), differences=differences)
