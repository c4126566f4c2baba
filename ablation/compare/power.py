"""Two numbers below a table: the smallest difference that it could detect, and the correlation that pairing uses."""

from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import median

from ..stats.contrast import correlation
from ..stats.moments import stdev
from ..stats.power import minimum_detectable_effect
from .records import Comparison


def minimum_detectable_difference(comparison: Comparison) -> float | None:
    """The smallest true difference that is detected with power .8, in the unit of the primary measure of quality.

    Bonferroni over the family, at the largest number of seeds of any cell, which inconclusive cells get. The spread is
    the median over the tested cells, so that one noisy cell does not decide. None where nothing was tested.
    """
    metrics = [cell.metrics[comparison.metric] for cell in comparison.cells[1:]]
    tested = [
        (metric.contrast.differences, metric.verdict)
        for metric in metrics
        if metric.contrast is not None and metric.verdict is not None and metric.verdict.p is not None
    ]
    spread = typical_spread([differences for differences, _ in tested])
    if spread is None:
        return None
    differences, verdict = max(tested, key=lambda test: len(test[0]))
    return minimum_detectable_effect(spread, len(differences), verdict.alpha, verdict.family)


def typical_spread(cells: Sequence[Sequence[float]]) -> float | None:
    """The median over cells of the standard deviation of their differences; None where there is no noise, or no cell.

    Cells with fewer than two differences are left out.
    """
    spread = median([_spread(differences) for differences in cells if len(differences) > 1] or [0.0])
    return spread or None


def _spread(differences: Sequence[float]) -> float:
    """The standard deviation, median unbiased; uncorrected, that of 3 seeds has a median a sixth too small."""
    freedom = len(differences) - 1
    return stdev(differences) / sqrt(_median_of_chi_squared(freedom) / freedom)


@cache
def _median_of_chi_squared(freedom: int) -> float:
    from scipy.special import gammaincinv

    return float(2 * gammaincinv(freedom / 2, 0.5))


def observed_rho(comparison: Comparison) -> float | None:
    """The correlation over seeds of a cell with the baseline, in the primary measure of quality; median over cells.

    Cells with fewer than three pairs, or whose values do not vary, are left out; None where all are.
    """
    baseline = comparison.baseline.metrics[comparison.metric].values
    correlations = [correlation(cell.metrics[comparison.metric].values, baseline) for cell in comparison.cells[1:]]
    known = [rho for rho in correlations if rho is not None]
    return median(known) if known else None
