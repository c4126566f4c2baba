"""Checks J and K: "by more than the margin", and what else a table may set apart without a correction."""

from collections.abc import Iterator
from itertools import product

import numpy

from ..sequential import ALPHA
from .base import Check, Mask, at_most, caught, form, no_more_than_five
from .grids import ARM_5, BASELINE_5, HALF_10, HEAVY, NORMAL, SKEWED, alternating, differences
from .tables import Judged, Tests, judge, tests

ARMS = 5, 11, 29


def exceeded_margins(grids: int, quick: bool) -> Iterator[Check]:
    """J: every arm differs by exactly the margin, and the table says of some that it is more."""
    kinds = (NORMAL, ARM_5, HALF_10) if quick else (NORMAL, HEAVY, SKEWED, ARM_5, HALF_10, BASELINE_5)
    uncorrected = {}
    for kind, shared in product(kinds, (False, True)):
        rates = {}
        for arms, seeds in product(ARMS, (5,) if quick else (3, 5, 8)):
            noise = tests(differences(kind, grids, arms, seeds, 0.5, "J"), shared)
            for margin in (2.0,) if quick else (1.0, 2.0):
                found = Tests(noise.mean + margin * alternating(arms)[:, 0], noise.error, noise.degrees)
                setting = f"{arms + 1} cells, {seeds} seeds, margin {margin:g} sd"
                rates[setting] = float(judge(found, margin).exceeds.any(-1).mean())
                if kind == NORMAL and not shared and (seeds, margin) == (5, 2.0):
                    low, high = found.interval(ALPHA)
                    uncorrected[f"{arms + 1} cells"] = float(((low > margin) | (high < -margin)).any(-1).mean())
        variances = form(shared)
        yield no_more_than_five("J", f'any false "by more than the margin", {variances}, {kind}', rates, grids)
    yield caught("J", "by more than the margin where the uncorrected interval is", uncorrected, grids)


def words(grids: int, quick: bool) -> Iterator[Check]:
    """K: nothing differs, and a table sets a cell apart by any word but inconclusive, leaning and equivalent."""
    del quick
    margin, seeds = 0.5, 5
    apart, leaning, by_mean, bold = {}, {}, {}, {}
    for arms in ARMS:
        cells = f"{arms + 1} cells"
        table = differences(NORMAL, grids, arms, seeds, 0.5, "K")
        judged = judge(tests(table, True), margin)
        apart[cells] = float(set_apart(judged).any(-1).mean())
        leaning[cells] = float(judged.leaning.any(-1).mean())
        open_ = ~judged.differs & ~judged.equivalent
        by_mean[cells] = float((open_ & (numpy.abs(judged.mean) > margin)).any(-1).mean())
        bold[cells] = float((tests(table, False).p < ALPHA).any(-1).mean())
    yield no_more_than_five("K", "any cell set apart by its word, shared variances", apart, grids)
    worst = max(leaning, key=leaning.__getitem__)
    yield at_most("K", 'documented limit: "leaning", which is not corrected, in a table', leaning[worst], 0.65, worst)
    yield caught("K", 'bold, or "leaning", by the mean beyond the margin', by_mean, grids)
    yield caught("K", "bold where the uncorrected interval excludes zero", bold, grids)


def set_apart(judged: Judged) -> Mask:
    """The contrasts whose word says more than equivalent, inconclusive or leaning; see ``report.labels``."""
    word = judged.labels
    return (word == "better") | (word == "worse") | judged.exceeds | (judged.differs & judged.equivalent)
