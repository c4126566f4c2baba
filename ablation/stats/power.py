"""What a number of seeds can show: seeds needed, the smallest effect that can be seen, the chance of a conclusion.

Nothing here is computed from an observed effect. Power "at the effect that was found" only repeats its p; what a plan
needs is the power at the margin, the smallest difference that matters. The spread of the differences may be pooled over
arms here, and only here: a verdict uses the spread of its own arm.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import sqrt
from statistics import variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

POWER = 0.8
MOST_SEEDS = 50
UNDECIDABLE = "not decidable at this scale; widen the margin or use a less noisy metric"

# The range of seeds is that of this central share of the spread's distribution.
_CENTRAL = 0.8
# Differences to one shared baseline correlate by a half, so k arms tell less about the spread than k separate ones.
_SHARED = 0.5
_NODES = 128


def spread(arms: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The standard deviation of per-seed differences, pooled over arms of one baseline; and its degrees of freedom.

    Arms of fewer than two differences tell nothing; None where no arm tells anything.
    """
    telling = [arm for arm in arms if len(arm) > 1]
    if not telling:
        return None
    freedoms = [len(arm) - 1 for arm in telling]
    pooled = sum(variance(arm) * freedom for arm, freedom in zip(telling, freedoms, strict=True)) / sum(freedoms)
    return sqrt(pooled), sum(freedoms) / (1 + (len(telling) - 1) * _SHARED**2)


def power(effect: float, pairs: int, alpha: float) -> float:
    """Of the two-sided paired t at a true ``effect`` in standard deviations of the difference."""
    from scipy.special import ndtr, stdtrit

    spreads, weights = _spreads(pairs - 1)
    critical, shift = -stdtrit(pairs - 1, alpha / 2) * spreads, effect * sqrt(pairs)
    return float(weights @ (ndtr(shift - critical) + ndtr(-shift - critical)))


@lru_cache(maxsize=1024)
def _spreads(freedom: int) -> "tuple[NDArray[float64], NDArray[float64]]":
    """Nodes and weights of the distribution of the observed spread, where the true one is 1.

    Powers are integrals over it. The non-central t of scipy is one too, and ends in NaN where the effect is large.
    """
    from scipy.special import chdtri

    nodes, weights = _nodes()
    return (chdtri(freedom, (1 - nodes) / 2) / freedom) ** 0.5, weights / 2


@cache
def _nodes() -> "tuple[NDArray[float64], NDArray[float64]]":
    from numpy.polynomial.legendre import leggauss

    return leggauss(_NODES)


def seeds_needed(effect: float, alpha: float, most: int = 10_000) -> int | None:
    """The fewest seeds, three or more, with power .8 at ``effect`` (in standard deviations); None above ``most``."""
    low, high = 3, most
    if effect <= 0 or power(effect, high, alpha) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, alpha) >= POWER else (middle + 1, high)
    return low


def more_seeds(
    arms: Sequence[Sequence[float]], pairs: int, margin: float, alpha: float
) -> tuple[tuple[int, int] | None, str | None]:
    """How many seeds beyond ``pairs`` would settle a comparison at ``margin``, from a to b; or None and why.

    ``arms`` are the differences from which the spread is pooled; ``alpha`` is what one comparison may spend, so already
    divided by the size of the family. The range covers what the spread may be, given how few seeds have shown it.
    """
    from scipy.stats import chi2

    known = spread(arms)
    if known is None or known[0] == 0 or margin <= 0:
        return None, None
    deviation, freedom = known
    needed = seeds_needed(margin / deviation, alpha)
    if needed is None or needed - pairs > MOST_SEEDS:
        return None, UNDECIDABLE
    low, high = (
        seeds_needed(margin / (deviation * sqrt(freedom / chi2.ppf(share, freedom))), alpha)
        for share in ((1 + _CENTRAL) / 2, (1 - _CENTRAL) / 2)
    )
    fewest = max(1, (low or needed) - pairs)
    return (fewest, max(fewest, (high or needed) - pairs)), None


def minimum_detectable_effect(deviation: float, pairs: int, alpha: float, family: int = 1) -> float:
    """The smallest true difference seen with power .8, in the unit of ``deviation``; by Bonferroni over the family."""
    from scipy.optimize import brentq

    share = alpha / family
    return deviation * float(brentq(lambda effect: power(effect, pairs, share) - POWER, 1e-6, 1e6))


def probability_conclusive(
    deviation: float, pairs: int, margin: float | None, alpha: float, family: int = 1, effect: float = 0.0
) -> float:
    """The chance that a comparison is called better, worse or equivalent at a true difference ``effect``.

    ``deviation``, ``margin`` and ``effect`` in the unit of the metric; by Bonferroni over the family. Averages over
    what the observed spread may turn out to be.
    """
    from numpy import clip, inf
    from scipy.special import ndtr, stdtrit

    share, freedom, scale = alpha / family, pairs - 1, sqrt(pairs) / deviation
    spreads, weights = _spreads(freedom)
    shift, border = effect * scale, -inf if margin is None else margin * scale
    different = -stdtrit(freedom, share / 2) * spreads
    # A mean between the two is open; where the tests meet there is none such.
    equal = clip(border + stdtrit(freedom, share) * spreads, 0, different)
    return float(1 - weights @ (ndtr(different - shift) - ndtr(equal - shift)
                                + ndtr(-equal - shift) - ndtr(-different - shift)))  # fmt: skip


def seeds_in_words(bounds: tuple[int, int]) -> str:
    """``about 4-9 more seeds``."""
    low, high = bounds
    if low == high:
        return f"about {low} more seed{'' if low == 1 else 's'}"
    return f"about {low}-{high} more seeds"
