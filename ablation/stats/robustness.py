"""The sign-flip test: what the paired t would say if it did not have to trust the shape of the noise.

Where nothing differs, the difference of every seed could as well have had the other sign (Fisher 1935). The p is the
share of all 2^n choices of signs whose mean lies at least as far from 0. It has few steps: with n seeds none is below
2 / 2^n, so that it can carry no verdict over a family of comparisons, and stands beside the t as its witness only:
as a condition of a verdict it would cost a single comparison of 8 seeds two points of power.
"""

# DOC-TO-MERGE: 'What the runs say of a difference to a reader who thinks in probabilities; a description, never a second verdict.'

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from .contrast import ROUNDING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


FEWEST, MOST = 6, 20
"""Seeds. With fewer no p is below .05; with more there are too many choices, and means are as good as normal."""


def p_sign_flip(differences: "NDArray[float64]") -> "NDArray[float64]":
    """Exact and two-sided, over the last axis, which holds the seeds."""
    import numpy

    # Turning all signs round changes no distance from 0, so the first difference keeps its own.
    sums = differences[..., :1]
    for place in range(1, differences.shape[-1]):
        one = differences[..., place : place + 1]
        sums = numpy.concatenate([sums + one, sums - one], axis=-1)
    observed = numpy.abs(differences.sum(-1, keepdims=True))
    rounding = ROUNDING * numpy.abs(differences).sum(-1, keepdims=True)
    return (numpy.abs(sums) >= observed - rounding).mean(-1, dtype=float)


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """The p of one comparison, None where there are too few or too many seeds."""
    import numpy

    return float(p_sign_flip(numpy.array(differences))) if FEWEST <= len(differences) <= MOST else None


def contradicted_from(seeds: int, alpha: float) -> float:
    """The p of the sign-flip test from which on it does not bear out a t that is below ``alpha``; inf where none is.

    Its own steps are no disagreement: half a step is granted (the mid-p, Lancaster 1961). Where even its smallest p is
    not below ``alpha`` it cannot agree, and is not asked.
    """
    smallest = 2 / 2**seeds
    return alpha + smallest / 2 if FEWEST <= seeds <= MOST and smallest < alpha else inf


@dataclass(frozen=True)
class Posterior:
    """The probabilities that the true difference is worse by more than the margin, within it, better by more."""

    worse: float
    within: float
    better: float


def posterior(differences: Sequence[float], margin: float) -> Posterior | None:
    """Of per-seed differences, + is better, under the reference prior: Student t(n - 1, mean, sd / sqrt(n)).

    Under that prior no size of difference is likelier than another before the runs, and neither is any log(sd); of one
    comparison alone. None for fewer than two differences, and where they do not vary.
    """
    from scipy.stats import t

    if len(differences) < 2 or not (deviation := stdev(differences)):
        return None
    belief = t(len(differences) - 1, fmean(differences), deviation / sqrt(len(differences)))
    worse, better = float(belief.cdf(-margin)), float(belief.sf(margin))
    return Posterior(worse, max(0.0, 1 - worse - better), better)
