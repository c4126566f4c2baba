"""The sign-flip test: what the paired t would say if it did not have to trust the shape of the noise.

Where nothing differs, the difference of every seed could as well have had the other sign (Fisher 1935). The p is the
share of all 2^n choices of signs whose mean lies at least as far from 0. It has few steps: with n seeds none is below
2 / 2^n, so that it can carry no verdict over a family of comparisons, and stands beside the t as its witness only:
as a condition of a verdict it would cost a single comparison of 8 seeds two points of power.
"""

from collections.abc import Sequence
from math import inf
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


def witness(differences: Sequence[float]) -> float | None:
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
