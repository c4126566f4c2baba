"""The noise floor: how far a run may lie from the baseline's mean for the seed alone."""

from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from ..stats.moments import stdev
from .records import Comparison

FEWEST = 3
"""Seeds of the baseline, below which its noise is not known."""


@dataclass(frozen=True)
class NoiseFloor:
    """Of the table's measure, from the baseline's seeds."""

    seeds: int
    sd: float
    bound: float
    """Within which one more run of the baseline lies with 95 % probability, of all changed cells together."""
    changes: int
    outside: dict[str, float]
    """By label, the differences of cells with one seed that are beyond it."""


def noise_floor(comparison: Comparison) -> NoiseFloor | None:
    """A prediction interval: t s sqrt(1 + 1 / n), with Bonferroni over the changes; None where noise is not known.

    It says what deserves more seeds, and is no verdict.
    """
    values = [value for value in comparison.baseline.metrics[comparison.metric].values if value is not None]
    if len(values) < FEWEST or len(comparison.cells) < 2:
        return None
    from scipy.special import stdtrit

    n, changes, sd, mean = len(values), len(comparison.cells) - 1, stdev(values), fmean(values)
    bound = -float(stdtrit(n - 1, 0.05 / 2 / changes)) * sd * sqrt(1 + 1 / n)
    single = {
        cell.label: of_cell[0] - mean
        for cell in comparison.cells[1:]
        if len(of_cell := [value for value in cell.metrics[comparison.metric].values if value is not None]) == 1
        and not cell.incomparable
    }
    return NoiseFloor(n, sd, bound, changes, {label: d for label, d in single.items() if abs(d) > bound})
