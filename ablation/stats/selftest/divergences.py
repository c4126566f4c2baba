"""Check L: grids in which runs diverge, with the tests of how often they do in the table's family."""

from collections.abc import Iterator
from itertools import product

import numpy

from ..family import boschloo
from ..sequential import ALPHA
from .base import Array, Check, Mask, at_least, caught, no_more_than_five, slack
from .grids import NORMAL, runs, standard_normal, uniform
from .tables import Judged, judge, tests

ARMS, MARGIN, INITIAL_LOSS = 5, 1.0, 20.0


def diverged_grids(grids: int, quick: bool) -> Iterator[Check]:
    """L: runs of all cells diverge equally often, and a table states a difference in quality or divergence."""
    rates, uncorrected = {}, {}
    for rate, seeds in product((0.2, 0.5), (3, 5, 8)):
        values, diverged = diverging_runs(grids, [rate] * (1 + ARMS), seeds)
        judged = state(values, diverged)
        setting = f"{rate:.0%} of runs, {seeds} seeds"
        rates[setting] = float(judged.any_difference.mean())
        if (rate, seeds) == (0.5, 8):
            uncorrected[setting] = float((judged.differs.any(-1) | (p_divergence(diverged) < ALPHA).any(-1)).mean())
    yield no_more_than_five("L", "any false statement, all cells diverge equally often", rates, grids)
    yield caught("L", "each test of divergence at 5 %", uncorrected, grids)
    yield caught("L", "untrained losses compared where all runs diverged", _untrained(grids), grids)
    yield from _powers(grids, quick)


def diverging_runs(grids: int, rates: list[float], seeds: int) -> tuple[Array, Mask]:
    """The loss of every run, [grids, cells, seeds], higher where it diverged, and whether it did."""
    shape = [grids, len(rates), seeds]
    values = runs(NORMAL, grids, len(rates) - 1, seeds, 0.5, "L")
    diverged = uniform(shape, "L diverged", *map(str, rates)) < numpy.array(rates)[:, None]
    return numpy.where(diverged, INITIAL_LOSS + 0.1 * standard_normal(shape, "L initial"), values), diverged


def state(values: Array, diverged: Mask) -> Judged:
    """What a table states: no quality where a seed of both or all of one diverged, and Boschloo tests divergence."""
    differences = values[:, :1] - values[:, 1:]  # lower is better
    arms, baseline = diverged[:, 1:], diverged[:, :1]
    nothing = numpy.any(arms & baseline, -1) | numpy.all(arms, -1) | numpy.all(baseline, -1)
    of_quality = tests(numpy.where(nothing[:, :, None], numpy.nan, differences), True)
    return judge(of_quality, MARGIN, others=p_divergence(diverged))


def p_divergence(diverged: Mask) -> Array:
    """Boschloo's p for each cell, [tables, arms]; nan where neither it nor the baseline has a diverged run."""
    seeds, counts = diverged.shape[-1], diverged.sum(-1)
    table = numpy.array([[boschloo(a, seeds, b, seeds) for b in range(seeds + 1)] for a in range(seeds + 1)])
    table[0, 0] = numpy.nan
    return table[counts[:, 1:], counts[:, :1]]


def _untrained(grids: int) -> dict[str, float]:
    """Cells whose untrained losses differ by their initialization, which says nothing of what they would learn."""
    noise = 0.1 * standard_normal([grids, 1 + ARMS, 5], "L untrained")
    values = INITIAL_LOSS + 0.2 * numpy.arange(1 + ARMS)[:, None] + noise
    return {"5 seeds": float(judge(tests(values[:, 1:] - values[:, :1], True), MARGIN).differs.any(-1).mean())}


def _powers(grids: int, quick: bool) -> Iterator[Check]:
    """One arm of five diverges far more often than the others, which never do."""
    for seeds, rate, least in ((5, 1.0, 0.99), (8, 0.8, 0.75), (12, 0.6, 0.75))[: 2 if quick else 3]:
        values, diverged = diverging_runs(grids, [0.0, rate, *[0.0] * (ARMS - 1)], seeds)
        found = float(state(values, diverged).others[:, 0].mean())
        what = f"power to see that one arm diverges in {rate:.0%} of runs, the others in none, {seeds} seeds"
        yield at_least("L", what, found, least - slack(grids, 0.2))
