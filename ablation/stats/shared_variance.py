"""Variances shared between the cells of a table, within a bound: more from the same few seeds.

With 3 to 5 seeds a cell's own variance is so uncertain that its t-test decides little. The other cells show what the
noise of a run is like. Smyth (2004, doi 10.2202/1544-6115.1027) takes the true variances as draws from a scaled inverse
chi-squared distribution with ``d0`` degrees of freedom around ``s0``, estimates both from all variances of the table,
and tests every contrast with

    variance = (d0 s0 + d s) / (d0 + d)    on d0 + d degrees of freedom,

where ``s`` is its own variance on d = n - 1. As it stands this claims too much where some cells are noisier than the
others, which is just what an ablation of stability looks for. Three bounds keep its statements true:

1. Sharing raises a small variance and never lowers a large one: a contrast with s > s0 is tested with its own variance
   and degrees of freedom. So a noisy cell borrows no confidence from quiet ones.
2. d0 is at most d / 2: all other cells together count no more than half of what a cell itself shows.
3. d0 is at most d (1 / r^2 - 1), with r the mean correlation of the contrasts over seeds. All of them contain the
   baseline's noise; the variances of normal contrasts correlate by r^2, so that the others add only so much. Where the
   baseline is the noisy cell, r is near 1 and nothing is shared.

A robust estimate of s0 and d0 (Phipson et al. 2016, arXiv 1602.08678) guards against the first danger only in part,
since no estimate distinguishes a cell of three times the noise from a quiet one by 5 seeds, which the bounds need not
do. How often a table with these variances is wrong is in docs/statistics.md, from
tests/benchmarks/shared_variance.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

from .contrast import MINIMUM_SEEDS, ROUNDING, SMALLEST

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array = NDArray[float64]

MINIMUM_CONTRASTS = 5
"""With fewer contrasts each has its own variance: they say too little about how variances differ."""
LARGEST_SHARE = 0.5
"""What the other contrasts may add at most, as a fraction of the degrees of freedom of a contrast's own variance."""
FLOOR = 1e-5
"""Variances below this fraction of their median count as so large in the estimate of the prior, as in limma."""


@dataclass(frozen=True)
class Variance:
    """The variance of a contrast's per-seed differences, in the squared unit of the metric, for a t-test over seeds.

    ``standard_error`` is that of the mean difference; t = mean / standard_error has ``degrees`` degrees of freedom, so
    the equivalence test and the interval follow as for a variance of its own. ``own`` is the variance of these
    differences alone, on n - 1 degrees of freedom; both are equal where nothing was shared.
    """

    value: float
    degrees: float
    own: float
    seeds: int

    @property
    def standard_error(self) -> float:
        """Of the mean over seeds, in the unit of the metric."""
        return sqrt(self.value / self.seeds)

    @property
    def own_standard_error(self) -> float:
        """Of the mean over seeds by these differences alone."""
        return sqrt(self.own / self.seeds)

    def own_p(self, mean: float) -> float:
        """The two-sided p of the paired t by these differences alone."""
        from scipy.special import stdtr

        return 2 * float(stdtr(self.seeds - 1, -abs(mean) / self.own_standard_error))

    @property
    def shared(self) -> bool:
        """Whether the other contrasts had a part in it."""
        return self.degrees > self.seeds - 1


def shared_variances(
    differences: Sequence[Sequence[float]], norms: Sequence[float] | None = None
) -> tuple[Variance | None, ...]:
    """The variance of each contrast, in order; None for one that has no noise to test, or fewer than 3 seeds.

    ``differences`` are contrasts of one kind by one measure, such as those of all cells to the baseline: for each the
    per-seed differences in the order of the seeds, which is the same for all. Contrasts may have different numbers of
    seeds. Those without a variance have no part in the sharing. Where contrasts average over different numbers of
    cells, as main effects and interactions do, ``norms`` are the roots of the sum of squares of their weights, and what
    is shared is the variance of a run.
    """
    import numpy

    norms = [1.0] * len(differences) if norms is None else norms
    assert len(norms) == len(differences), "a norm for each contrast"
    tested = [index for index, values in enumerate(differences) if _varies(values)]
    degrees = numpy.array([len(differences[index]) - 1.0 for index in tested])
    own = numpy.array([numpy.var(differences[index], ddof=1) for index in tested])
    values, totals = own, degrees
    if len(tested) >= MINIMUM_CONTRASTS:
        seeds = min(len(differences[index]) for index in tested)
        correlation = mean_correlation(numpy.array([differences[index][:seeds] for index in tested]))
        squares = numpy.array([norms[index] for index in tested]) ** 2
        values, totals = share(own / squares, degrees, correlation)
        values = values * squares
    variances: list[Variance | None] = [None] * len(differences)
    for position, index in enumerate(tested):
        variances[index] = Variance(
            float(values[position]), float(totals[position]), float(own[position]), len(differences[index])
        )
    return tuple(variances)


def _varies(values: Sequence[float]) -> bool:
    if len(values) < MINIMUM_SEEDS:
        return False
    return max(values) - min(values) > max(ROUNDING * max(map(abs, values)), SMALLEST)


def share(variances: "Array", degrees: "Array", correlation: "Array") -> tuple["Array", "Array"]:
    """Variances and degrees of freedom after sharing within the three bounds.

    ``variances`` and ``degrees`` are (..., contrasts), ``correlation`` is (...): one number for each table.
    """
    import numpy

    center, prior = prior_of(variances, degrees)
    independent = 1 / numpy.clip(correlation, 1e-3, 1.0) ** 2 - 1
    bound = degrees * numpy.minimum(LARGEST_SHARE, independent)[..., None]
    added = numpy.where(variances > center[..., None], 0.0, numpy.minimum(prior[..., None], bound))
    totals = degrees + added
    return (added * center[..., None] + degrees * variances) / totals, totals


def prior_of(variances: "Array", degrees: "Array") -> tuple["Array", "Array"]:
    """The prior's variance and degrees of freedom, infinite where the variances differ no more than by chance.

    Smyth's moment estimates (2004, section 6.2) from the logarithms of the variances: their mean and variance are known
    functions of both. ``variances`` and ``degrees`` are (..., contrasts), the results (...).
    """
    import numpy
    from scipy.special import digamma, polygamma

    floored = numpy.maximum(variances, FLOOR * numpy.median(variances, axis=-1, keepdims=True))
    logs = numpy.log(floored) - digamma(degrees / 2) + numpy.log(degrees / 2)
    excess = logs.var(axis=-1, ddof=1) - polygamma(1, degrees / 2).mean(axis=-1)
    differ = excess > 0
    half = inverse_trigamma(numpy.where(differ, excess, 1.0))
    prior = numpy.where(differ, 2 * half, inf)
    center = numpy.exp(logs.mean(axis=-1) + numpy.where(differ, digamma(half) - numpy.log(half), 0.0))
    return center, prior


def inverse_trigamma(values: "Array") -> "Array":
    """The x at which the trigamma function has these positive values, by Newton's method on 1 / trigamma.

    That is convex and nearly linear, so that the start, 1/2 + 1/y, converges from below (Smyth 2004, appendix).
    """
    import numpy
    from scipy.special import polygamma

    values = numpy.maximum(values, 1e-7)  # below it, x > 1e7: as good as infinite
    x: Any = 0.5 + 1 / values
    for _ in range(50):
        trigamma = polygamma(1, x)
        step = trigamma * (1 - trigamma / values) / polygamma(2, x)
        x = x + step
        if numpy.all(numpy.abs(step) < 1e-10 * x):
            break
    return numpy.asarray(x)


def mean_correlation(differences: "Array") -> "Array":
    """The mean of Pearson's correlation over all pairs of contrasts; (..., contrasts, seeds) -> (...).

    From the variance of the mean of standardized contrasts, which is (1 + (contrasts - 1) r) / contrasts. A contrast
    that does not vary over these seeds counts as uncorrelated.
    """
    import numpy

    contrasts = differences.shape[-2]
    centered = differences - differences.mean(axis=-1, keepdims=True)
    spread = differences.std(axis=-1, ddof=1, keepdims=True)
    standardized = centered / numpy.where(spread > 0, spread, 1.0)
    return numpy.asarray((contrasts * standardized.mean(axis=-2).var(axis=-1, ddof=1) - 1) / (contrasts - 1))
