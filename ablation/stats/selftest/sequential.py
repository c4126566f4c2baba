"""Check F: looking while seeds are still being added, by the real looks, with users who stop when they like."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from ..sequential import ALPHA, INTERIM_LOOKS, alpha_at, next_interim_look, seeds_at
from ..verdict import Hypothesis, adjust_family
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
    """Per grid whether any comparison was ever called different, or ever equivalent, at any look that was taken."""

    different: Array
    equivalent: Array


def planned_looks(grids: int, quick: bool) -> Iterator[Check]:
    """False claims over all looks, as simulated and as the scheduler itself makes them; and what peeking costs."""
    for kind in (NORMAL, HEAVY):
        stops = _stops(grids, kind)
        claims = simulate(differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F"), stops)
        yield at_most("F", f"any false claim over planned looks, {kind}", claims.different.mean(), 0.055 + slack(grids))
        shifted = differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F margin") + MARGIN
        claims = simulate(shifted, stops)
        what = f"any false equivalence over planned looks, {kind}"
        yield at_most("F", what, claims.equivalent.mean(), 0.055 + slack(grids))
    tables = 30 if quick else 400
    found = differences(NORMAL, tables, ARMS, INTERIM_LOOKS[-1], 0.5, "F real")
    found[: tables // 2] += 1.0  # so that there is something to claim
    stops = _stops(tables, "real")
    simulated = simulate(found, stops)
    scheduled = [schedule(table, stop) for table, stop in zip(found, stops, strict=True)]
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
    """At how many seeds the user of each grid stops: anywhere from the first look to past the last."""
    return numpy.floor(
        INTERIM_LOOKS[0] + uniform([grids], "F stops", kind) * (INTERIM_LOOKS[-1] + 2 - INTERIM_LOOKS[0])
    )


def simulate(found: Array, stops: Array) -> Claims:
    """All grids at once: [grids, arms, seeds] of differences, and the seeds at which each user stops."""
    ps = numpy.stack([p_difference(found[..., :look]) for look in INTERIM_LOOKS])
    equivalences = numpy.stack([p_equivalence(found[..., :look], MARGIN) for look in INTERIM_LOOKS])
    spendable = numpy.array([alpha_at(look) for look in INTERIM_LOOKS])
    last = numpy.array([INTERIM_LOOKS.index(seeds_at(int(stop))) for stop in stops])
    at = numpy.zeros(found.shape[:2], dtype=int)
    different = numpy.zeros(len(found), dtype=bool)
    equivalent = numpy.zeros(len(found), dtype=bool)
    for look in range(len(INTERIM_LOOKS)):
        adjusted = holm(numpy.take_along_axis(ps, at[None], axis=0)[0]) < spendable[at]
        equal = holm(numpy.take_along_axis(equivalences, at[None], axis=0)[0]) < spendable[at]
        reached = look <= last
        different |= adjusted.any(-1) & reached
        equivalent |= equal.any(-1) & reached
        at = numpy.where(adjusted | equal, at, numpy.minimum(look + 1, len(INTERIM_LOOKS) - 1))
    return Claims(different, equivalent)


def schedule(found: Array, stop: float) -> tuple[bool, bool]:
    """One grid by ``adjust_family`` and ``next_interim_look``: whether anything was ever called different, or ever equivalent."""
    seeds = {str(arm): INTERIM_LOOKS[0] for arm in range(len(found))}
    total, different, equivalent = INTERIM_LOOKS[0], False, False
    while True:
        judged = {arm: seeds_at(count) for arm, count in seeds.items()}
        verdicts = adjust_family(
            [Hypothesis(tuple(found[int(arm), :n].tolist()), MARGIN, alpha_at(n)) for arm, n in judged.items()]
        )
        different |= any(verdict.label in ("better", "worse") or verdict.tiny for verdict in verdicts)
        equivalent |= any(verdict.label == "equivalent" for verdict in verdicts)
        following = next_interim_look({arm: [v] for arm, v in zip(seeds, verdicts, strict=True)}, "baseline", total)
        if following is None or following.seeds > stop:
            return different, equivalent
        total = following.seeds
        seeds |= {arm: total for arm in following.arms if arm in seeds}
