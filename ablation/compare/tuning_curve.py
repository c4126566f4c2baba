"""Tuning curves: what the best of n settings would be, had they been tried at random, with bands that are valid.

The usual estimate from one search, the V-statistic, is biased, and its bootstrap intervals miss what they should cover
(Tang et al. 2020, arXiv:2004.13705). The bands here hold for all n together (Lourie et al. 2023, arXiv:2311.09480).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf, isfinite

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Best:
    """The best of ``n`` trials: its median, and a band; None where that has no bound."""

    n: int
    median: float | None
    low: float | None
    high: float | None


def has_bands() -> bool:
    """Whether the library that computes them is installed."""
    return find_spec("opda") is not None


def tuning_curve(scores: Sequence[float | None], better: str) -> list[Best]:
    """The best of one to as many trials as there were; None among ``scores`` is a trial that failed, the worst."""
    from opda.nonparametric import EmpiricalDistribution

    minimize = better == "lower"
    worst = inf if minimize else -inf
    known = [worst if score is None else score for score in scores]
    bands = EmpiricalDistribution.confidence_bands(known, CONFIDENCE, method="dkw")
    ns = list(range(1, len(known) + 1))
    curves = [[float(value) for value in band.quantile_tuning_curve(ns, minimize=minimize)] for band in bands]
    points = []
    for n, values in zip(ns, zip(*curves, strict=True), strict=True):
        of_bounds = min(values[0], values[2]), max(values[0], values[2])
        median, low, high = (value if isfinite(value) else None for value in (values[1], *of_bounds))
        points.append(Best(n, median, low, high))
    return points
