"""The decisions of ``verdict.judge`` for many grids at once; a check and a test hold the two against each other."""

import numpy
from scipy.special import stdtr

from .noise import Array


def p_difference(differences: Array) -> Array:
    """Of the two-sided paired t, over the last axis."""
    mean, error, freedom = _moments(differences)
    return 2 * stdtr(freedom, -numpy.abs(mean) / error)


def p_equivalence(differences: Array, margin: float) -> Array:
    """Of the two one-sided tests: the larger of the two, over the last axis."""
    mean, error, freedom = _moments(differences)
    return stdtr(freedom, (numpy.abs(mean) - margin) / error)


def holm(p: Array) -> Array:
    """Adjusted over the last axis."""
    family = p.shape[-1]
    order = numpy.argsort(p, axis=-1)
    ranked = numpy.take_along_axis(p, order, axis=-1) * numpy.arange(family, 0, -1)
    adjusted = numpy.empty_like(p)
    numpy.put_along_axis(adjusted, order, numpy.minimum(numpy.maximum.accumulate(ranked, axis=-1), 1.0), axis=-1)
    return adjusted


def labels(
    differences: Array, margin: float, alpha: float
) -> "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.str_]]":
    """[grids, arms] from [grids, arms, seeds]."""
    significant = holm(p_difference(differences)) < alpha
    equivalent = holm(p_equivalence(differences, margin)) < alpha
    side = numpy.where(differences.mean(-1) > 0, "better", "worse")
    return numpy.where(equivalent, "equivalent", numpy.where(significant, side, "inconclusive"))


def _moments(differences: Array) -> tuple[Array, Array, int]:
    seeds = differences.shape[-1]
    return differences.mean(-1), differences.std(-1, ddof=1) / seeds**0.5, seeds - 1
