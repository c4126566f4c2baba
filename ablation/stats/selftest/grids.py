"""Synthetic grids: the metric of every run, with noise such as training has or may have, and without any difference."""

from collections.abc import Sequence
from math import exp, sqrt

import numpy
import torch

from ...rng import generator
from .base import Array

SEED = 20_260_520
NORMAL, HEAVY, SKEWED, DIVERGING = "normal", "t3", "both skewed", "10 % divergence"
ARM, BASELINE = "one arm 3x noise", "baseline 3x noise"
ARM_5, HALF_10, BASELINE_5 = "one arm 5x noise", "half of the arms 10x noise", "baseline 5x noise"
KINDS = (NORMAL, HEAVY, SKEWED, DIVERGING, ARM, BASELINE, ARM_5, HALF_10, BASELINE_5)

_SIGMA = 0.75


def noisy(kind: str, arms: int) -> slice:
    """The cells, of which the baseline is the first, that have more noise than the others."""
    if kind in (ARM, ARM_5):
        return slice(1, 2)
    if kind == HALF_10:
        return slice(1, 1 + arms // 2)
    return slice(0, 1 if kind in (BASELINE, BASELINE_5) else 0)


def runs(kind: str, grids: int, arms: int, seeds: int, correlation: float, *purpose: str | int) -> Array:
    """The metric, [grids, 1 + arms, seeds]: the baseline, then the arms.

    Every cell has mean 0 and unit variance, but some of some kinds, and with ``correlation`` an effect of the seed in
    common. At a correlation of .5 a difference of normal cells has standard deviation 1.
    """
    random = generator(SEED, "selftest", kind, grids, arms, seeds, str(correlation), *purpose)
    noise = _noise(kind, (grids, arms + 1, seeds), random)
    values = sqrt(correlation) * _normal((grids, 1, seeds), random) + sqrt(1 - correlation) * noise
    if (cells := noisy(kind, arms)) != slice(0, 0):
        values[:, cells] *= float(kind.rsplit("x noise", 1)[0].rsplit(" ", 1)[1])
    return values.numpy()


def differences(kind: str, grids: int, arms: int, seeds: int, correlation: float, *purpose: str | int) -> Array:
    """Arms minus baseline, [grids, arms, seeds]; see ``runs``."""
    values = runs(kind, grids, arms, seeds, correlation, *purpose)
    return values[:, 1:] - values[:, :1]


def skewed(shape: Sequence[int], sigma: float, *purpose: str | int) -> Array:
    """Logarithmically normal random numbers of mean 0 and variance 1."""
    return _skewed(_normal(shape, generator(SEED, "selftest", *purpose)), sigma).numpy()


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


def alternating(arms: int) -> Array:
    """[arms, 1]: +1, -1, +1 and so on, the sides to which arms differ."""
    return numpy.where(numpy.arange(arms) % 2, -1.0, 1.0)[:, None]


def _normal(shape: Sequence[int], random: torch.Generator) -> torch.Tensor:
    return torch.randn(list(shape), dtype=torch.float64, generator=random)


def _skewed(normal: torch.Tensor, sigma: float) -> torch.Tensor:
    variance = (exp(sigma**2) - 1) * exp(sigma**2)
    return ((sigma * normal).exp() - exp(sigma**2 / 2)) / sqrt(variance)


def _noise(kind: str, shape: Sequence[int], random: torch.Generator) -> torch.Tensor:
    normal = _normal(shape, random)
    if kind == HEAVY:  # Student t of 3 degrees of freedom, whose variance is 3
        return normal / _normal((*shape, 3), random).square().sum(-1).sqrt()
    if kind == SKEWED:
        return _skewed(normal, _SIGMA)
    if kind == DIVERGING:
        return normal + 20.0 * (torch.rand(list(shape), dtype=torch.float64, generator=random) < 0.1)
    return normal
