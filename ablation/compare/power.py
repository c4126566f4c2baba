"""What a table could have told, and what pairing by seed gained it: two numbers for the line below it."""

from collections.abc import Sequence
from math import sqrt
from statistics import median, stdev

from ..stats.contrast import correlation
from ..stats.power import minimum_detectable_effect
from .records import Comparison


def minimum_detectable_difference(comparison: Comparison) -> float | None:
    """The smallest true difference of the primary measure of quality that was told with power .8, in its unit.

    By Bonferroni over the family, with the most seeds of any cell, as what is open gets them. Half of the tested cells
    have differences that spread less than is assumed: one noisy cell says nothing of the others. None where nothing was
    tested.
    """
    metrics = [cell.metrics[comparison.metric] for cell in comparison.cells[1:]]
    tested = [
        (metric.contrast.differences, metric.verdict)
        for metric in metrics
        if metric.contrast is not None and metric.verdict is not None and metric.verdict.p is not None
    ]
    spread = median(_spread(differences) for differences, _ in tested) if tested else 0.0
    if spread == 0:
        return None
    differences, verdict = max(tested, key=lambda found: len(found[0]))
    return minimum_detectable_effect(spread, len(differences), verdict.alpha, verdict.family)


def _spread(differences: Sequence[float]) -> float:
    """The standard deviation, as often too small as too large; uncorrected, that of 3 seeds is mostly a sixth less."""
    from scipy.stats import chi2

    freedom = len(differences) - 1
    return stdev(differences) / sqrt(float(chi2.median(freedom)) / freedom)


def observed_rho(comparison: Comparison) -> float | None:
    """The correlation over seeds of a cell with the baseline, in the primary measure of quality: median over cells.

    Cells with fewer than three pairs, or whose values do not vary, say nothing; None where none says anything.
    """
    baseline = comparison.baseline.metrics[comparison.metric].values
    found = [correlation(cell.metrics[comparison.metric].values, baseline) for cell in comparison.cells[1:]]
    known = [rho for rho in found if rho is not None]
    return median(known) if known else None
