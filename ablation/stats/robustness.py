"""Three descriptions beside a verdict, which change none: the sign-flip test, a posterior, a run far off the others.

The sign-flip test does not assume a shape of the noise: if nothing differs, the difference of every seed could as well
have had the other sign (Fisher 1935). Its p is the fraction of all 2^n choices of signs whose mean is at least as far
from 0. With n seeds it is never below 2 / 2^n, which is too coarse for a family of comparisons; as a condition of a
verdict it would cost a single comparison of 8 seeds two points of power.

The posterior is for readers who think in probabilities of the difference itself.

A paired t on 5 seeds holds 5 % where the noise of both sides is alike; where that of one side alone is skewed, or a
rare run fails, it claims a difference of equal means in up to a third of comparisons. No test repairs that with so few
runs, so that the tables say when it may be so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from .contrast import ROUNDING
from .moments import stdev
from .shared_variance import Variance

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


MIN_SEEDS, MAX_SEEDS = 6, 20
"""With fewer seeds no p is below .05; with more there are too many choices, and means are close to normal."""


def p_sign_flip(differences: "NDArray[float64]") -> "NDArray[float64]":
    """The exact, two-sided p over the last axis, which holds the seeds."""
    import numpy

    # Flipping all signs changes no distance from 0, so that the first difference keeps its sign.
    sums = differences[..., :1]
    for index in range(1, differences.shape[-1]):
        difference = differences[..., index : index + 1]
        sums = numpy.concatenate([sums + difference, sums - difference], axis=-1)
    observed = numpy.abs(differences.sum(-1, keepdims=True))
    rounding = ROUNDING * numpy.abs(differences).sum(-1, keepdims=True)
    return (numpy.abs(sums) >= observed - rounding).mean(-1, dtype=float)


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """The p of one comparison, None for too few or too many seeds."""
    import numpy

    return float(p_sign_flip(numpy.array(differences))) if MIN_SEEDS <= len(differences) <= MAX_SEEDS else None


def contradicted_from(seeds: int, alpha: float) -> float:
    """From which p on the sign-flip test contradicts a paired t with p below ``alpha``; inf where it cannot.

    Its p is discrete, so that half a step more is allowed (the mid-p, Lancaster 1961). Where even its smallest p is not
    below ``alpha`` it could never agree, and so contradicts nothing.
    """
    smallest = 2 / 2**seeds
    return alpha + smallest / 2 if MIN_SEEDS <= seeds <= MAX_SEEDS and smallest < alpha else inf


@dataclass(frozen=True)
class Posterior:
    """The probabilities that the true difference is worse than the margin, within it, and better than it."""

    worse: float
    within: float
    better: float


def posterior(differences: Sequence[float], margin: float, variance: Variance | None = None) -> Posterior | None:
    """The posterior from per-seed differences, + is better, under the reference prior: t(n - 1, mean, sd / sqrt(n)).

    That prior is flat in the difference and in log(sd). ``variance``: that of the test, where other contrasts had a
    part in it; its standard error and degrees of freedom then take the place of these. It is of one comparison alone,
    without a correction for others. None for fewer than two differences, and where they do not vary.
    """
    from scipy.stats import t

    if len(differences) < 2 or not (deviation := stdev(differences)):
        return None
    degrees, error = len(differences) - 1.0, deviation / sqrt(len(differences))
    if variance is not None:
        degrees, error = variance.degrees, variance.standard_error
    distribution = t(degrees, fmean(differences), error)
    worse, better = float(distribution.cdf(-margin)), float(distribution.sf(margin))
    return Posterior(worse, max(0.0, 1 - worse - better), better)


# Two-sided critical values at 99 % of Dixon's r10 (1950), from 3 values on; Rorabacher 1991, DOI 10.1021/ac00002a010.
_CRITICAL = (.994, .926, .821, .740, .680, .634, .598, .568, .542, .522, .503, .488, .475)  # fmt: skip


def far_off(values: Sequence[float]) -> int | None:
    """The index of the value that is far off all others by Dixon's test at 1 %, None where none is.

    The test divides the distance of the smallest or largest value to its neighbor by the whole range. Beyond 15 values
    the bound of 15 is used, which finds fewer.
    """
    if len(values) < 3:
        return None
    order = sorted(range(len(values)), key=values.__getitem__)
    low, second, second_last, high = (values[order[index]] for index in (0, 1, -2, -1))
    if high == low:
        return None
    critical = _CRITICAL[min(len(values) - 3, len(_CRITICAL) - 1)]
    if max(second - low, high - second_last) <= critical * (high - low):
        return None
    return order[0] if second - low > high - second_last else order[-1]
