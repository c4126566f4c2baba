"""Checks A to D: false claims, false equivalence, coverage of the intervals, and power.

Each is done twice, with variances of the cells' own and with variances that cells share within bounds.
"""

from collections.abc import Iterator
from itertools import product

import numpy

from ..sequential import ALPHA, ALPHAS, INTERIM_LOOKS
from ..shared_variance import prior_of
from .base import Array, Check, Mask, at_least, at_most, caught, form, no_more_than_five, slack
from .grids import ARM_5, HALF_10, HEAVY, KINDS, NORMAL, alternating, differences, noisy, one_skewed
from .tables import Tests, judge, tests

# Power to see one real arm of five at a true difference (in standard deviations of the difference), after Holm, with
# variances of the arms' own.
POWER_AFTER_HOLM = {(3, 2): 0.12, (5, 1): 0.13, (5, 2): 0.55, (5, 3): 0.90, (8, 1): 0.35, (8, 2): 0.95, (8, 3): 1.0}
# Power of one comparison at a true difference in standard deviations of a cell, by seeds, correlation and difference.
POWER_ALONE = {
    (3, 0.0, 2): 0.29, (3, 0.5, 2): 0.47, (3, 0.9, 2): 0.95, (5, 0.0, 2): 0.66, (5, 0.5, 2): 0.91, (8, 0.0, 2): 0.93,
    (5, 0.0, 1): 0.23, (5, 0.5, 1): 0.40, (5, 0.9, 1): 0.95,
}  # fmt: skip
MARGIN = 1.0


def false_claims(grids: int, quick: bool) -> Iterator[Check]:
    """A: nothing differs, and some comparison of the table is called different."""
    for kind, shared in product(KINDS, (False, True)):
        seeds_of, arms_of = ((3, 5) if quick else (3, 5, 8) if shared else (3, 5, 8, 12)), (5, 12)
        # Where all cells have the same noise, pairing removes the effect of the seed whatever its size.
        correlations = (0.5,) if quick or noisy(kind, 2) == slice(0, 0) else (0.0, 0.9)
        settings = product(seeds_of, correlations, arms_of if shared else (2, 5) if quick else (2, *arms_of))
        rates = {}
        for seeds, correlation, arms in settings:
            found = judge(tests(differences(kind, grids, arms, seeds, correlation, "A"), shared), MARGIN)
            rates[f"{seeds} seeds, rho {correlation}, {arms} arms"] = float(found.any_difference.mean())
        yield no_more_than_five("A", f"any false claim in a table, {form(shared)}, {kind}", rates, grids)
    yield _without_bounds(grids)
    yield from _others_differ(grids, quick)
    skewed = {
        seeds: float((tests(one_skewed(grids, seeds, 0.5), False).p < ALPHA).mean())
        for seeds in ((3, 5) if quick else (3, 5, 8, 12))
    }
    worst_seeds = max(skewed, key=skewed.__getitem__)
    bound = 0.10 + slack(grids, 0.1)
    yield at_most("A", "false claim per comparison, one arm skewed", skewed[worst_seeds], bound, f"{worst_seeds} seeds")


def _without_bounds(grids: int) -> Check:
    """Variances shared as Smyth (2004) does it, without the bounds of ``shared_variance``."""
    rates = {}
    for seeds, arms in ((3, 12), (5, 5)):
        table = differences(ARM_5, grids, arms, seeds, 0.5, "A unbounded")
        own, degrees = table.var(-1, ddof=1), numpy.full(table.shape[:2], seeds - 1.0)
        center, prior = (numpy.minimum(estimate, 1e6)[:, None] for estimate in prior_of(own, degrees))
        variance = (prior * center + degrees * own) / (prior + degrees)
        found = Tests(table.mean(-1), numpy.sqrt(variance / seeds), prior + degrees)
        rates[f"{seeds} seeds, {arms} arms"] = float(judge(found, MARGIN).any_difference.mean())
    return caught("A", f"variances shared without bounds, {ARM_5}", rates, grids)


def _others_differ(grids: int, quick: bool) -> Iterator[Check]:
    """The known price of sharing: only the noisy arms do not differ, so that Holm tests them at a larger level."""
    rates = {}
    for seeds, arms in product((3, 5) if quick else (3, 5, 8), (5, 12)):
        quiet = slice(noisy(HALF_10, arms).stop - 1, None)
        table = differences(HALF_10, grids, arms, seeds, 0.5, "A others")
        table[:, quiet] += 1000.0
        found = judge(tests(table, True), MARGIN)
        rates[f"{seeds} seeds, {arms} arms"] = float(found.differs[:, : quiet.start].any(-1).mean())
    worst = max(rates, key=rates.__getitem__)
    what = f"documented limit: any false claim where all quiet arms differ, shared variances, {HALF_10}"
    yield at_most("A", what, rates[worst], 0.09 + slack(grids, 0.09), f"worst of {len(rates)}: {worst}")


def false_equivalence(grids: int, quick: bool) -> Iterator[Check]:
    """B: every arm differs by exactly the margin, and some comparison is called equivalent."""
    for kind, shared in product(KINDS, (False, True)):
        settings = [*product((5,), (2.0, 4.0))] if quick else [*product((3, 5, 8), (1.0, 4.0))]
        arms = 12 if shared else 5
        rates = {}
        for seeds, margin in settings:
            table = differences(kind, grids, arms, seeds, 0.5, "B") + margin * alternating(arms)
            rates[f"{seeds} seeds, margin {margin:g} sd"] = float(
                judge(tests(table, shared), margin).equivalent.any(-1).mean()
            )
        yield no_more_than_five("B", f"any false equivalence at the margin, {form(shared)}, {kind}", rates, grids)


def coverage(grids: int, quick: bool) -> Iterator[Check]:
    """C: how often the interval contains the truth; at one look, and at all planned looks together."""
    for kind, shared in product(KINDS, (False, True)):
        arms = 8 if shared else 1
        rates = []
        for seeds in (3, 5) if quick else (3, 5, 8, 12):
            covered = _covered(tests(differences(kind, grids, arms, seeds, 0.5, "C"), shared)).mean(0)
            n_noisy = max(0, noisy(kind, arms).stop - 1)
            groups = covered[:n_noisy], covered[n_noisy:]
            rates += [float(group.mean()) for group in groups if len(group)]
        low, high = (0.94 if shared else 0.943) - slack(grids), 0.99  # of many rates, whose error is .15 points
        yield Check("C", f"coverage of the 95 % interval, {form(shared)}, {kind}",
                    f"{min(rates):.2%} to {max(rates):.2%}",
                    f"{low:.2%} to {high:.2%}", low <= min(rates) and max(rates) <= high)  # fmt: skip
    for kind in (NORMAL, HEAVY):
        table = differences(kind, grids, 1, INTERIM_LOOKS[-1], 0.5, "C looks")
        at_looks = [
            _covered(tests(table[..., :look], False), alpha) for look, alpha in zip(INTERIM_LOOKS, ALPHAS, strict=True)
        ]
        covered_always = float(numpy.logical_and.reduce(at_looks).mean())
        yield at_least("C", f"coverage at all planned looks together, {kind}", covered_always, 0.945 - slack(grids))


def _covered(found: Tests, alpha: float = ALPHA) -> Mask:
    low, high = found.interval(alpha)
    return (low <= 0) & (high >= 0)


def powers(grids: int, quick: bool) -> Iterator[Check]:
    """D: the power that plans rely on, what sharing adds to it, and claims of the wrong sign."""
    del quick
    gaps, wrong = {}, 0.0
    for (seeds, effect), expected in POWER_AFTER_HOLM.items():
        table = differences(NORMAL, grids, 5, seeds, 0.5, "D")
        table[:, 0] += effect
        for shared in (False, True):
            claimed = judge(tests(table, shared), MARGIN).differs[:, 0]
            wrong = max(wrong, float((claimed & (table[:, 0].mean(-1) < 0)).mean()))
            if not shared:
                gaps[f"{seeds} seeds, {effect} sd"] = float(claimed.mean()) - expected
    yield _power("power after Holm, 1 real arm of 5, own variances, against the table", gaps, grids)
    alone = {}
    for (seeds, correlation, effect), expected in POWER_ALONE.items():
        table = differences(NORMAL, grids, 1, seeds, correlation, "D alone") + effect
        alone[f"{seeds} seeds, rho {correlation}"] = float((tests(table, False).p < ALPHA).mean()) - expected
    yield _power("power of one comparison, against the table", alone, grids)
    yield at_most("D", "claims of the wrong sign", wrong, 0.001 + slack(grids, 0.001))
    yield _gained(differences(NORMAL, grids, 12, 5, 0.5, "D shared"))


def _gained(table: Array) -> Check:
    table[:, -1] += 3.0
    own, shared = (float(judge(tests(table, shared), MARGIN).differs[:, -1].mean()) for shared in (False, True))
    return Check("D", "power after Holm at 3 sd, 1 real arm of 12, 5 seeds: own and shared variances",
                 f"{own:.1%} and {shared:.1%}", "shared is not smaller", shared >= own)  # fmt: skip


def _power(what: str, gaps: dict[str, float], grids: int) -> Check:
    worst = max(gaps, key=lambda setting: abs(gaps[setting]))
    bound = 0.02 + slack(grids, 0.5)
    measured = f"{100 * gaps[worst]:+.2f} points (worst of {len(gaps)}: {worst})"
    return Check("D", what, measured, f"within {100 * bound:.2f} points", abs(gaps[worst]) <= bound)
