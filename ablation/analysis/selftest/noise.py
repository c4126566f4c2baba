"""Synthetic grids: the metric of every cell and seed, with the noise that training has or may have."""

from collections.abc import Sequence
from math import exp, sqrt

import torch
from numpy import float64
from numpy.typing import NDArray

from ...randomness import generator

Array = NDArray[float64]

SEED = 20_260_520
NORMAL, HEAVY, SKEWED, DIVERGING = "normal", "t3", "both skewed", "10 % divergence"
ARM, BASELINE = "one arm 3x noise", "baseline 3x noise"
KINDS = (NORMAL, HEAVY, SKEWED, DIVERGING, ARM, BASELINE)

_SIGMA = 0.75


def differences(kind: str, grids: int, arms: int, seeds: int, correlation: float, *purpose: str | int) -> Array:
    """Arms minus baseline, [grids, arms, seeds], without any true difference.

    Every cell has unit variance (three times the spread where ``kind`` says so) and shares, at ``correlation``, an
    effect of the seed. At a correlation of a half a difference of normal cells has standard deviation 1.
    """
    draw = generator(SEED, "selftest", kind, grids, arms, seeds, str(correlation), *purpose)
    own = _own(kind, (grids, arms + 1, seeds), draw)
    values = sqrt(correlation) * _normal((grids, 1, seeds), draw) + sqrt(1 - correlation) * own
    if kind == ARM:
        values[:, 1] *= 3
    if kind == BASELINE:
        values[:, 0] *= 3
    return (values[:, 1:] - values[:, :1]).numpy()


def one_skewed(grids: int, seeds: int, correlation: float) -> Array:
    """[grids, 1, seeds]: an arm of skewed noise against a baseline of normal noise, both of mean 0 and variance 1."""
    draw = generator(SEED, "selftest", "one skewed", grids, seeds)
    arm, baseline = _own(SKEWED, (grids, 1, seeds), draw), _normal((grids, 1, seeds), draw)
    return (sqrt(1 - correlation) * (arm - baseline)).numpy()


def uniform(shape: Sequence[int], *purpose: str | int) -> Array:
    """Between 0 and 1."""
    return torch.rand(list(shape), dtype=torch.float64, generator=generator(SEED, "selftest", *purpose)).numpy()


def standard_normal(shape: Sequence[int], *purpose: str | int) -> Array:
    """Of mean 0 and variance 1."""
    return _normal(shape, generator(SEED, "selftest", *purpose)).numpy()


def _normal(shape: Sequence[int], draw: torch.Generator) -> torch.Tensor:
    return torch.randn(list(shape), dtype=torch.float64, generator=draw)


def _own(kind: str, shape: Sequence[int], draw: torch.Generator) -> torch.Tensor:
    normal = _normal(shape, draw)
    if kind == HEAVY:  # Student t of 3 degrees of freedom, whose variance is 3
        return normal / _normal((*shape, 3), draw).square().sum(-1).sqrt()
    if kind == SKEWED:
        variance = (exp(_SIGMA**2) - 1) * exp(_SIGMA**2)
        return ((_SIGMA * normal).exp() - exp(_SIGMA**2 / 2)) / sqrt(variance)
    if kind == DIVERGING:
        return normal + 20.0 * (torch.rand(list(shape), dtype=torch.float64, generator=draw) < 0.1)
    return normal
