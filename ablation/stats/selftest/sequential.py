"""Check F: interim looks while seeds are still added, with users who stop whenever they like."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from ..family import Hypothesis, adjust_family
from ..sequential import ALPHA, INTERIM_LOOKS, alpha_at, next_interim_look, seeds_at
from .base import (
    HEAVY,
    NORMAL,
    Array,
    Check,
    at_least,
    at_most,
    differences,
    holm,
    p_difference,
    p_equivalence,
    slack,
    uniform,
)

ARMS, MARGIN = 5, 2.0


@dataclass(frozen=True)
class Claims:
    """Per grid, whether any comparison was called different, or equivalent, at any look that was taken."""

    different: Array
    equivalent: Array


def planned_looks(grids: int, quick: bool) -> Iterator[Check]:
    """False claims over all looks, simulated and by the scheduler itself; and the cost of testing at 5 % each time."""
    for kind in (NORMAL, HEAVY):
        stops = _stops(grids, kind)
        claims = simulate(differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F"), stops)
        yield at_most("F", f"any false claim over planned looks, {kind}", claims.different.mean(), 0.055 + slack(grids))
        shifted = differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F margin") + MARGIN
        claims = simulate(shifted, stops)
        what = f"any false equivalence over planned looks, {kind}"
        yield at_most("F", what, claims.equivalent.mean(), 0.055 + slack(grids))
    tables = 30 if quick else 400
    grid_values = differences(NORMAL, tables, ARMS, INTERIM_LOOKS[-1], 0.5, "F real")
    grid_values[: tables // 2] += 1.0  # so that there is something to claim
    stops = _stops(tables, "real")
    simulated = simulate(grid_values, stops)
    scheduled = [schedule(table, stop) for table, stop in zip(grid_values, stops, strict=True)]
    same = sum(
        [bool(different), bool(equivalent)] == list(by_scheduler)
        for different, equivalent, by_scheduler in zip(
            simulated.different, simulated.equivalent, scheduled, strict=True
        )
    )
    yield Check("F", "grids on which the scheduler itself claims what is simulated", f"{same} of {tables}",
                f"{tables}", same == tables)  # fmt: skip
    alone = differences(NORMAL, grids, 1, INTERIM_LOOKS[-1], 0.5, "F naive")
    naive = numpy.logical_or.reduce([p_difference(alone[..., :look]) < ALPHA for look in INTERIM_LOOKS]).mean()
    yield at_least("F", "control: each look at 5 %, one comparison, must be caught", naive, 0.055 + slack(grids))


def _stops(grids: int, kind: str) -> Array:
    """The number of seeds at which the user of each grid stops: anywhere from the first look to past the last."""
    return numpy.floor(
        INTERIM_LOOKS[0] + uniform([grids], "F stops", kind) * (INTERIM_LOOKS[-1] + 2 - INTERIM_LOOKS[0])
    )


def simulate(table: Array, stops: Array) -> Claims:
    """All grids at once, from differences [grids, arms, seeds] and the number of seeds at which each user stops."""
    ps = numpy.stack([p_difference(table[..., :look]) for look in INTERIM_LOOKS])
    ps_equivalence = numpy.stack([p_equivalence(table[..., :look], MARGIN) for look in INTERIM_LOOKS])
    alphas = numpy.array([alpha_at(look) for look in INTERIM_LOOKS])
    last = numpy.array([INTERIM_LOOKS.index(seeds_at(int(stop))) for stop in stops])
    at = numpy.zeros(table.shape[:2], dtype=int)  # the look of each arm
    different = numpy.zeros(len(table), dtype=bool)
    equivalent = numpy.zeros(len(table), dtype=bool)
    for look in range(len(INTERIM_LOOKS)):
        is_different = holm(numpy.take_along_axis(ps, at[None], axis=0)[0]) < alphas[at]
        is_equivalent = holm(numpy.take_along_axis(ps_equivalence, at[None], axis=0)[0]) < alphas[at]
        taken = look <= last
        different |= is_different.any(-1) & taken
        equivalent |= is_equivalent.any(-1) & taken
        at = numpy.where(is_different | is_equivalent, at, numpy.minimum(look + 1, len(INTERIM_LOOKS) - 1))
    return Claims(different, equivalent)


def schedule(table: Array, stop: float) -> tuple[bool, bool]:
    """One grid by ``adjust_family`` and ``next_interim_look``: whether any arm was called different, or equivalent."""
    seeds = {str(arm): INTERIM_LOOKS[0] for arm in range(len(table))}
    total, different, equivalent = INTERIM_LOOKS[0], False, False
    while True:
        tested = {arm: seeds_at(count) for arm, count in seeds.items()}
        verdicts = adjust_family(
            [Hypothesis(tuple(table[int(arm), :n].tolist()), MARGIN, alpha_at(n)) for arm, n in tested.items()]
        )
        different |= any(verdict.label in ("better", "worse") or verdict.within_margin for verdict in verdicts)
        equivalent |= any(verdict.label == "equivalent" for verdict in verdicts)
        look = next_interim_look({arm: [v] for arm, v in zip(seeds, verdicts, strict=True)}, "baseline", total)
        if look is None or look.seeds > stop:
            return different, equivalent
        total = look.seeds
        seeds |= {arm: total for arm in look.arms if arm in seeds}
