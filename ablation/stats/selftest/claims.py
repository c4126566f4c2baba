"""Checks A to D: false claims, false equivalence, coverage of the intervals, and power."""

from collections.abc import Iterator
from itertools import product

import numpy
from scipy.special import stdtrit

from ..sequential import ALPHA, ALPHAS, INTERIM_LOOKS
from .base import (
    HEAVY,
    KINDS,
    NORMAL,
    SKEWED,
    Array,
    Check,
    at_least,
    at_most,
    differences,
    holm,
    one_skewed,
    p_difference,
    p_equivalence,
    slack,
)

# Power to see one real arm of five at a true difference (in standard deviations of the difference), after Holm.
POWER_AFTER_HOLM = {(3, 2): 0.12, (5, 1): 0.13, (5, 2): 0.55, (5, 3): 0.90, (8, 1): 0.35, (8, 2): 0.95, (8, 3): 1.0}
# Power of one comparison at a true difference in standard deviations of a cell, by seeds, correlation and difference.
POWER_ALONE = {
    (3, 0.0, 2): 0.29, (3, 0.5, 2): 0.47, (3, 0.9, 2): 0.95, (5, 0.0, 2): 0.66, (5, 0.5, 2): 0.91, (8, 0.0, 2): 0.93,
    (5, 0.0, 1): 0.23, (5, 0.5, 1): 0.40, (5, 0.9, 1): 0.95,
}  # fmt: skip


def false_claims(grids: int, quick: bool) -> Iterator[Check]:
    """A: nothing differs, and some comparison of the table is called different."""
    settings = [*product((3, 5), (0.5,), (2, 5))] if quick else [*product((3, 5, 8, 12), (0.0, 0.5, 0.9), (2, 5, 12))]
    for kind in KINDS:
        rates = {}
        for setting in settings:
            seeds, correlation, arms = setting
            p = holm(p_difference(differences(kind, grids, arms, seeds, correlation, "A")))
            rates[setting] = float((p < ALPHA).any(-1).mean())
        worst = max(rates, key=lambda setting: rates[setting])
        where = f"worst of {len(rates)}: {worst[0]} seeds, rho {worst[1]}, {worst[2]} arms"
        yield at_most("A", f"any false claim in a table, {kind}", rates[worst], 0.055 + slack(grids), where)
    skewed = {
        seeds: float((p_difference(one_skewed(grids, seeds, 0.5)) < ALPHA).mean())
        for seeds in ((3, 5) if quick else (3, 5, 8, 12))
    }
    worst_seeds = max(skewed, key=lambda seeds: skewed[seeds])
    bound = 0.10 + slack(grids, 0.1)
    yield at_most("A", "false claim per comparison, one arm skewed", skewed[worst_seeds], bound, f"{worst_seeds} seeds")


def false_equivalence(grids: int, quick: bool) -> Iterator[Check]:
    """B: every arm differs by exactly the margin, and some comparison is called equivalent."""
    settings = [*product((5, 8), (2.0, 4.0))] if quick else [*product((3, 5, 8, 12), (1.0, 2.0, 4.0))]
    for kind in (NORMAL, HEAVY, SKEWED):
        rates = {}
        for seeds, margin in settings:
            signs = numpy.array([1, -1, 1, -1, 1])[:, None]
            table = differences(kind, grids, 5, seeds, 0.5, "B") + margin * signs
            rates[seeds, margin] = float((holm(p_equivalence(table, margin)) < ALPHA).any(-1).mean())
        worst = max(rates, key=lambda setting: rates[setting])
        where = f"worst of {len(rates)}: {worst[0]} seeds, margin {worst[1]:g} sd"
        yield at_most("B", f"any false equivalence at the margin, {kind}", rates[worst], 0.055 + slack(grids), where)


def coverage(grids: int, quick: bool) -> Iterator[Check]:
    """C: how often the interval contains the truth; at one look, and at all planned looks together."""
    for kind in (NORMAL, HEAVY, SKEWED):
        rates = [
            float(_covered(differences(kind, grids, 1, seeds, 0.5, "C"), ALPHA).mean())
            for seeds in ((3, 5) if quick else (3, 5, 8, 12))
        ]
        low, high = 0.945 - slack(grids), 0.97 + slack(grids)
        yield Check("C", f"coverage of the 95 % interval, {kind}", f"{min(rates):.2%} to {max(rates):.2%}",
                    f"{low:.2%} to {high:.2%}", low <= min(rates) and max(rates) <= high)  # fmt: skip
    for kind in (NORMAL, HEAVY):
        table = differences(kind, grids, 1, INTERIM_LOOKS[-1], 0.5, "C looks")
        at_looks = [_covered(table[..., :look], alpha) for look, alpha in zip(INTERIM_LOOKS, ALPHAS, strict=True)]
        together = float(numpy.logical_and.reduce(at_looks).mean())
        yield at_least("C", f"coverage at all planned looks together, {kind}", together, 0.945 - slack(grids))


def _covered(table: Array, alpha: float) -> "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.bool_]]":
    seeds = table.shape[-1]
    half_width = -stdtrit(seeds - 1, alpha / 2) * table.std(-1, ddof=1) / seeds**0.5
    return numpy.abs(table.mean(-1)) <= half_width


def powers(grids: int, quick: bool) -> Iterator[Check]:
    """D: the power that plans rely on, and claims of the wrong sign."""
    gaps, wrong = {}, 0.0
    for (seeds, effect), expected in POWER_AFTER_HOLM.items():
        table = differences(NORMAL, grids, 5, seeds, 0.5, "D")
        table[:, 0] += effect
        claimed = holm(p_difference(table))[:, 0] < ALPHA
        gaps[f"{seeds} seeds, {effect} sd"] = float(claimed.mean()) - expected
        wrong = max(wrong, float((claimed & (table[:, 0].mean(-1) < 0)).mean()))
    yield _power("power after Holm, 1 real arm of 5, against the table", gaps, grids)
    alone = {}
    for (seeds, correlation, effect), expected in POWER_ALONE.items():
        table = differences(NORMAL, grids, 1, seeds, correlation, "D alone") + effect
        alone[f"{seeds} seeds, rho {correlation}"] = float((p_difference(table) < ALPHA).mean()) - expected
    yield _power("power of one comparison, against the table", alone, grids)
    yield at_most("D", "claims of the wrong sign", wrong, 0.001 + slack(grids, 0.001))


def _power(what: str, gaps: dict[str, float], grids: int) -> Check:
    worst = max(gaps, key=lambda setting: abs(gaps[setting]))
    bound = 0.02 + slack(grids, 0.5)
    measured = f"{100 * gaps[worst]:+.2f} points (worst of {len(gaps)}: {worst})"
    return Check("D", what, measured, f"within {100 * bound:.2f} points", abs(gaps[worst]) <= bound)
