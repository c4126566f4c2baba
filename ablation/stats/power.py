"""Power: the seeds that are needed, the smallest effect that can be detected, the probability of a conclusion.

Nothing here is computed from an observed effect: power at the observed effect only repeats its p. What a plan needs is
the power at the margin, the smallest difference that matters. The spread of the differences may be pooled over cells
here, and only here: a verdict uses the spread of its own cell.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import sqrt
from typing import TYPE_CHECKING

from .contrast import plural
from .moments import variance

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

POWER = 0.8
MAX_MORE_SEEDS = 50
UNDECIDABLE = (
    "not decidable at this scale; a new study needs a less noisy metric, or a wider margin declared before its runs"
)

# The range of seeds covers this central part of the spread's distribution.
_CENTRAL = 0.8
# Differences to one shared baseline correlate by a half: they inform less on the spread than independent ones.
_CORRELATION = 0.5
_NODES = 128


def pooled_spread(cells: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The standard deviation of per-seed differences, pooled over cells with one baseline, and its degrees of freedom.

    Cells with fewer than two differences are left out; None where all are.
    """
    informative = [cell for cell in cells if len(cell) > 1]
    if not informative:
        return None
    freedoms = [len(cell) - 1 for cell in informative]
    pooled = sum(variance(cell) * freedom for cell, freedom in zip(informative, freedoms, strict=True)) / sum(freedoms)
    return sqrt(pooled), sum(freedoms) / (1 + (len(informative) - 1) * _CORRELATION**2)


def power(effect: float, pairs: int, alpha: float) -> float:
    """The power of the two-sided paired t at a true ``effect``, in standard deviations of the difference."""
    from scipy.special import ndtr, stdtrit

    spreads, weights = _spreads(pairs - 1)
    critical, shift = -stdtrit(pairs - 1, alpha / 2) * spreads, effect * sqrt(pairs)
    return float(weights @ (ndtr(shift - critical) + ndtr(-shift - critical)))


@lru_cache(maxsize=1024)
def _spreads(freedom: int) -> "tuple[NDArray[float64], NDArray[float64]]":
    """Nodes and weights to integrate over the distribution of the observed spread, where the true one is 1.

    Power is such an integral. scipy's non-central t is another way to it, but returns NaN for large effects.
    """
    from scipy.special import chdtri

    nodes, weights = _nodes()
    return (chdtri(freedom, (1 - nodes) / 2) / freedom) ** 0.5, weights / 2


@cache
def _nodes() -> "tuple[NDArray[float64], NDArray[float64]]":
    from numpy.polynomial.legendre import leggauss

    return leggauss(_NODES)


def seeds_needed(effect: float, alpha: float, limit: int = 10_000) -> int | None:
    """The fewest seeds, three or more, with power .8 at ``effect`` (in standard deviations); None above ``limit``."""
    low, high = 3, limit
    if effect <= 0 or power(effect, high, alpha) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, alpha) >= POWER else (middle + 1, high)
    return low


def more_seeds(
    known: tuple[float, float] | None, pairs: int, margin: float, alpha: float
) -> tuple[tuple[int, int] | None, str | None]:
    """How many seeds beyond ``pairs`` would settle a comparison at ``margin``, from a to b; or None and the reason.

    ``known`` is the ``pooled_spread``; ``alpha`` is that of one comparison, already divided by the size of the family.
    The range reflects how uncertain the spread is, known from few seeds.
    """
    if known is None or known[0] == 0 or margin <= 0:
        return None, None
    needed, low, high = _seeds_by_spread(*known, margin, alpha)
    if needed is None or needed - pairs > MAX_MORE_SEEDS:
        return None, UNDECIDABLE
    fewest = max(1, (low or needed) - pairs)
    return (fewest, max(fewest, (high or needed) - pairs)), None


@lru_cache(maxsize=1024)
def _seeds_by_spread(
    deviation: float, freedom: float, margin: float, alpha: float
) -> tuple[int | None, int | None, int | None]:
    """The seeds that are needed at the observed spread, and at the ends of the range in which it may be."""
    from scipy.special import gammaincinv  # half of the quantile of chi squared, without a second for scipy.stats

    needed = seeds_needed(margin / deviation, alpha)
    low, high = (
        seeds_needed(margin / (deviation * sqrt(freedom / float(2 * gammaincinv(freedom / 2, quantile)))), alpha)
        for quantile in ((1 + _CENTRAL) / 2, (1 - _CENTRAL) / 2)
    )
    return needed, low, high


def minimum_detectable_effect(deviation: float, pairs: int, alpha: float, family: int = 1) -> float:
    """The smallest true difference detected with power .8, in the unit of ``deviation``; Bonferroni over the family."""
    level, low, high = alpha / family, 1e-6, 1e6
    while high / low > 1 + 1e-14:  # halved in the logarithm; scipy.optimize takes longer to import than this to run
        middle = sqrt(low * high)
        low, high = (low, middle) if power(middle, pairs, level) >= POWER else (middle, high)
    return deviation * high


def probability_conclusive(
    deviation: float, pairs: int, margin: float | None, alpha: float, family: int = 1, effect: float = 0.0
) -> float:
    """The probability of a verdict better, worse or equivalent at a true difference ``effect``.

    ``deviation``, ``margin`` and ``effect`` are in the unit of the metric; Bonferroni over the family. An average over
    the distribution of the observed spread.
    """
    from numpy import clip, inf
    from scipy.special import ndtr, stdtrit

    level, freedom, scale = alpha / family, pairs - 1, sqrt(pairs) / deviation
    spreads, weights = _spreads(freedom)
    shift, bound = effect * scale, -inf if margin is None else margin * scale
    different = -stdtrit(freedom, level / 2) * spreads
    # A mean between the two is inconclusive; where the tests overlap there is none.
    equal = clip(bound + stdtrit(freedom, level) * spreads, 0, different)
    return float(1 - weights @ (ndtr(different - shift) - ndtr(equal - shift)
                                + ndtr(-equal - shift) - ndtr(-different - shift)))  # fmt: skip


def replicates_in_words(bounds: tuple[int, int], replicate: str = "seed") -> str:
    """``4 to 9 more seeds``."""
    low, high = bounds
    return plural(low, f"more {replicate}") if low == high else f"{low} to {plural(high, f'more {replicate}')}"
