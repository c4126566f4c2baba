"""The statistics tested on grids whose truth is known: does the verdict engine claim what is not there?

Thirteen checks: A false claims, B false equivalence, C coverage, D power, E seeds named, F looks, G timings, H known
numbers, I factorials, J margins exceeded, K words without correction, L diverged runs, M skewed arms. N, tables that
are made from runs, is in ``compare.selftest``. Rules that are wrong are simulated as controls, which the same bounds
must catch; what no rule mends is stated as a documented limit.

The full form simulates 20,000 grids per setting; the quick one 2,000 and fewer settings, with wider bounds for its
larger sampling error. Random numbers are fixed, so that a result does not change from run to run.
"""

from collections.abc import Callable, Iterator

from .base import GRIDS, Check
from .claims import coverage, false_claims, false_equivalence, powers
from .divergences import diverged_grids
from .factorials import factorial_tables
from .margins import exceeded_margins, words
from .references import further_seeds, known_numbers, timings
from .sequential import planned_looks
from .skewed_arms import limits_of_means

QUICK_GRIDS = 2000

_CHECKS: tuple[Callable[[int, bool], Iterator[Check]], ...] = (
    false_claims, false_equivalence, coverage, powers, further_seeds, planned_looks, timings, known_numbers,
    factorial_tables, exceeded_margins, words, diverged_grids, limits_of_means,
)  # fmt: skip


def statistics(quick: bool = False) -> Iterator[Check]:
    """All checks, one after the other."""
    for check in _CHECKS:
        yield from check(QUICK_GRIDS if quick else GRIDS, quick)


__all__ = ["Check", "statistics"]
