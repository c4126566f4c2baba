"""What all checks share: a check and its bound, synthetic grids, and the verdicts of many grids at once.

Synthetic grids hold the metric of every cell and seed, with noise such as training has or may have. The verdicts of
many grids at once follow the same decisions as ``verdict.adjust_family``; a check and a test compare the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy
import torch
from numpy import float64
from numpy.typing import NDArray
from scipy.special import stdtr

from ...rng import generator

GRIDS = 20_000
"""Synthetic grids per setting in the full form: a rate of 5 % is then known to .15 percentage points."""

_STANDARD_ERRORS = 3.25


@dataclass(frozen=True)
class Check:
    """The ``letter`` of the protocol, what was checked, the number, its bound as text, and whether it was met."""

    letter: str
    what: str
    measured: str
    bound: str
    passed: bool


def slack(grids: int, rate: float = 0.05) -> float:
    """How much wider a bound is than in the full form: 3.25 binomial standard errors for the fewer grids."""
    deviation = sqrt(rate * (1 - rate))
    return _STANDARD_ERRORS * deviation * max(0.0, 1 / sqrt(grids) - 1 / sqrt(GRIDS))


def at_most(letter: str, what: str, rate: float, bound: float, where: str = "") -> Check:
    """A rate that has an upper bound."""
    return Check(
        letter, what, _percent(rate) + (f" ({where})" if where else ""), f"<= {_percent(bound)}", bool(rate <= bound)
    )


def at_least(letter: str, what: str, rate: float, bound: float, where: str = "") -> Check:
    """A rate that has a lower bound."""
    return Check(
        letter, what, _percent(rate) + (f" ({where})" if where else ""), f">= {_percent(bound)}", bool(rate >= bound)
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


Array = NDArray[float64]

SEED = 20_260_520
NORMAL, HEAVY, SKEWED, DIVERGING = "normal", "t3", "both skewed", "10 % divergence"
ARM, BASELINE = "one arm 3x noise", "baseline 3x noise"
KINDS = (NORMAL, HEAVY, SKEWED, DIVERGING, ARM, BASELINE)

_SIGMA = 0.75


def differences(kind: str, grids: int, arms: int, seeds: int, correlation: float, *purpose: str | int) -> Array:
    """Arms minus baseline, [grids, arms, seeds], without any true difference.

    Every cell has unit variance (three times the standard deviation for two of the kinds) and, with ``correlation``, an
    effect of the seed in common. At a correlation of .5 a difference of normal cells has standard deviation 1.
    """
    random = generator(SEED, "selftest", kind, grids, arms, seeds, str(correlation), *purpose)
    noise = _noise(kind, (grids, arms + 1, seeds), random)
    values = sqrt(correlation) * _normal((grids, 1, seeds), random) + sqrt(1 - correlation) * noise
    if kind == ARM:
        values[:, 1] *= 3
    if kind == BASELINE:
        values[:, 0] *= 3
    return (values[:, 1:] - values[:, :1]).numpy()


def one_skewed(grids: int, seeds: int, correlation: float) -> Array:
    """[grids, 1, seeds]: an arm of skewed noise against a baseline of normal noise, both of mean 0 and variance 1."""
    random = generator(SEED, "selftest", "one skewed", grids, seeds)
    arm, baseline = _noise(SKEWED, (grids, 1, seeds), random), _normal((grids, 1, seeds), random)
    return (sqrt(1 - correlation) * (arm - baseline)).numpy()


def uniform(shape: Sequence[int], *purpose: str | int) -> Array:
    """Uniform random numbers between 0 and 1."""
    return torch.rand(list(shape), dtype=torch.float64, generator=generator(SEED, "selftest", *purpose)).numpy()


def standard_normal(shape: Sequence[int], *purpose: str | int) -> Array:
    """Normal random numbers of mean 0 and variance 1."""
    return _normal(shape, generator(SEED, "selftest", *purpose)).numpy()


def _normal(shape: Sequence[int], random: torch.Generator) -> torch.Tensor:
    return torch.randn(list(shape), dtype=torch.float64, generator=random)


def _noise(kind: str, shape: Sequence[int], random: torch.Generator) -> torch.Tensor:
    normal = _normal(shape, random)
    if kind == HEAVY:  # Student t of 3 degrees of freedom, whose variance is 3
        return normal / _normal((*shape, 3), random).square().sum(-1).sqrt()
    if kind == SKEWED:
        variance = (exp(_SIGMA**2) - 1) * exp(_SIGMA**2)
        return ((_SIGMA * normal).exp() - exp(_SIGMA**2 / 2)) / sqrt(variance)
    if kind == DIVERGING:
        return normal + 20.0 * (torch.rand(list(shape), dtype=torch.float64, generator=random) < 0.1)
    return normal


def p_difference(differences: Array) -> Array:
    """The p of the two-sided paired t, over the last axis."""
    mean, error, freedom = _moments(differences)
    return 2 * stdtr(freedom, -numpy.abs(mean) / error)


def p_equivalence(differences: Array, margin: float) -> Array:
    """The p of the two one-sided tests, the larger of the two, over the last axis."""
    mean, error, freedom = _moments(differences)
    return stdtr(freedom, (numpy.abs(mean) - margin) / error)


def holm(p: Array) -> Array:
    """Holm's adjusted p over the last axis."""
    family = p.shape[-1]
    order = numpy.argsort(p, axis=-1)
    ranked = numpy.take_along_axis(p, order, axis=-1) * numpy.arange(family, 0, -1)
    adjusted = numpy.empty_like(p)
    numpy.put_along_axis(adjusted, order, numpy.minimum(numpy.maximum.accumulate(ranked, axis=-1), 1.0), axis=-1)
    return adjusted


def labels(
    differences: Array, margin: float, alpha: float
) -> "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.str_]]":
    """The verdicts' labels, [grids, arms] from [grids, arms, seeds]."""
    significant = holm(p_difference(differences)) < alpha
    equivalent = holm(p_equivalence(differences, margin)) < alpha
    side = numpy.where(differences.mean(-1) > 0, "better", "worse")
    return numpy.where(equivalent, "equivalent", numpy.where(significant, side, "inconclusive"))


def _moments(differences: Array) -> tuple[Array, Array, int]:
    seeds = differences.shape[-1]
    return differences.mean(-1), differences.std(-1, ddof=1) / seeds**0.5, seeds - 1
