"""The verdicts of many tables at once, by the decisions of ``family.judge``; a check and tests compare the two.

Arrays of contrasts are [tables, contrasts], of differences [tables, contrasts, seeds]; + is better. A seed that a
contrast does not have yet is nan, and one without a seed has no interval. Nothing is exact, since noise is continuous.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy import int64, str_
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ..contrast import MINIMUM_SEEDS
from ..family import TREND_P, Hypothesis
from ..sequential import ALPHA
from ..shared_variance import MINIMUM_CONTRASTS, mean_correlation, share, shared_variances
from .base import Array, Mask

Counts = NDArray[int64]


@dataclass(frozen=True)
class Tests:
    """What tests of contrasts rest on: mean, its standard error, degrees of freedom; nan where nothing is tested."""

    mean: Array
    error: Array
    degrees: Array

    @property
    def p(self) -> Array:
        """Of the two-sided t-test against 0."""
        return self._p(-numpy.abs(self.mean), 2)

    def p_equivalence(self, margin: float) -> Array:
        """The larger of the two one-sided tests against the margin."""
        return self._p(numpy.abs(self.mean) - margin, 1)

    def p_exceeds(self, margin: float) -> Array:
        """Of the t-test against the margin on the side of the mean, which the data choose."""
        return self._p(margin - numpy.abs(self.mean), 2)

    def interval(self, alpha: float | Array = ALPHA) -> tuple[Array, Array]:
        """At level 1 - alpha, of each contrast alone."""
        half_width = -stdtrit(self.degrees, alpha / 2) * self.error
        return self.mean - half_width, self.mean + half_width

    def _p(self, distance: Array, sides: int) -> Array:
        return numpy.minimum(1.0, sides * stdtr(self.degrees, distance / self.error))


def tests(differences: Array, shared: bool, norms: Array | None = None) -> Tests:
    """Tests of contrasts that share their variances among them, or not; see ``shared_variances`` for ``norms``."""
    present = ~numpy.isnan(differences)
    seeds = present.sum(-1)
    tested = seeds >= MINIMUM_SEEDS
    number = numpy.where(tested, seeds, numpy.nan)
    filled = differences if present.all() else numpy.where(present, differences, 0.0)
    mean = filled.sum(-1) / number
    own = numpy.where(present, (filled - mean[..., None]) ** 2, 0.0).sum(-1) / (number - 1)
    variance, degrees = (_shared(filled, own, seeds, tested, norms)) if shared else (own, number - 1)
    return Tests(mean, numpy.sqrt(variance / number), degrees)


def _shared(differences: Array, own: Array, seeds: Counts, tested: Mask, norms: Array | None) -> tuple[Array, Array]:
    """All tables together that have as many contrasts with an interval, and as many seeds in all of these."""
    squares = numpy.ones(own.shape[-1]) if norms is None else norms**2
    variance, degrees = own.copy(), numpy.where(tested, seeds - 1.0, numpy.nan)
    contrasts, least = tested.sum(-1), numpy.where(tested, seeds, differences.shape[-1]).min(-1)
    for count, common in {*zip(contrasts.tolist(), least.tolist(), strict=True)}:
        if count < MINIMUM_CONTRASTS:
            continue
        rows = numpy.flatnonzero((contrasts == count) & (least == common))[:, None]
        columns = numpy.argsort(~tested[rows[:, 0]], axis=-1, kind="stable")[:, :count]
        of = squares[columns]
        values, totals = share(
            own[rows, columns] / of, degrees[rows, columns], mean_correlation(differences[rows, columns, :common])
        )
        variance[rows, columns], degrees[rows, columns] = values * of, totals
    return variance, degrees


def together(*parts: Tests) -> Tests:
    """Contrasts of several kinds in one family."""
    return Tests(
        numpy.concatenate([part.mean for part in parts], -1),
        numpy.concatenate([part.error for part in parts], -1),
        numpy.concatenate([part.degrees for part in parts], -1),
    )


def holm(p: Array) -> Array:
    """Holm's adjusted p over the last axis; one that is nan is not in the family."""
    size = (~numpy.isnan(p)).sum(-1, keepdims=True)
    order = numpy.argsort(p, axis=-1)
    ranked = numpy.take_along_axis(p, order, axis=-1) * (size - numpy.arange(p.shape[-1]))
    adjusted = numpy.empty_like(p)
    numpy.put_along_axis(adjusted, order, numpy.minimum(numpy.maximum.accumulate(ranked, axis=-1), 1.0), axis=-1)
    return adjusted


@dataclass(frozen=True)
class Judged:
    """What tables state of each contrast, and in ``others`` of each further test of the table."""

    mean: Array
    differs: Mask
    equivalent: Mask
    exceeds: Mask
    leaning: Mask
    others: Mask

    @property
    def labels(self) -> NDArray[str_]:
        """The verdicts' labels."""
        side = numpy.where(self.mean > 0, "better", "worse")
        return numpy.where(self.equivalent, "equivalent", numpy.where(self.differs, side, "inconclusive"))

    @property
    def any_difference(self) -> Mask:
        """Whether a table states that anything differs, [tables]; false where nothing does."""
        return numpy.asarray(numpy.concatenate([self.differs, self.exceeds, self.others], -1).any(-1))


def judge(tests: Tests, margin: float, alpha: float | Array = ALPHA, others: Array | None = None) -> Judged:
    """All statements of each table as one family; ``others`` are the p of further tests, nan where there is none.

    A contrast without an interval counts with p = 1. Of arms at different looks, ``alpha`` is [tables, contrasts].
    """
    further = numpy.empty((len(tests.mean), 0)) if others is None else others
    nothing = numpy.where(numpy.isnan(further), numpy.nan, 1.0)  # whether a difference is small is no question to them
    contrasts = tests.mean.shape[-1]

    def corrected(p: Array, of_others: Array) -> Array:
        return holm(numpy.concatenate([numpy.where(numpy.isnan(p), 1.0, p), of_others], -1))

    p_holm = corrected(tests.p, further)
    differs = p_holm[:, :contrasts] < alpha
    equivalent = corrected(tests.p_equivalence(margin), nothing)[:, :contrasts] < alpha
    exceeds = corrected(tests.p_exceeds(margin), nothing)[:, :contrasts] < alpha
    leaning = ~differs & ~equivalent & (tests.p < TREND_P)
    of_others = p_holm[:, contrasts:]
    seen = of_others < alpha if others is not None else numpy.zeros(of_others.shape, dtype=bool)
    return Judged(tests.mean, differs, equivalent, exceeds, leaning, seen)


def one_by_one(
    table: Sequence[Sequence[float]], margin: float, alphas: Sequence[float], shared: bool
) -> list[Hypothesis]:
    """One table for ``family.judge``, as ``compare.families`` does it: differences by contrast and seed."""
    variances = shared_variances(table) if shared else [None] * len(table)
    return [
        Hypothesis(tuple(row), margin, alpha, variance=variance if variance is not None and variance.shared else None)
        for row, alpha, variance in zip(table, alphas, variances, strict=True)
    ]
