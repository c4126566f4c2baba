"""Check F: interim looks while seeds are still added, with users who stop whenever they like."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy

from ..family import adjust_family
from ..sequential import ALPHA, ALPHAS, INTERIM_LOOKS, alpha_at, next_interim_look, seeds_at
from .base import Array, Check, Mask, all_alike, caught, form, no_more_than_five
from .factorials import DESIGNS, Factorial
from .grids import ARM_5, HEAVY, NORMAL, differences, runs, uniform
from .tables import judge, one_by_one, tests, together

ARMS, MARGIN = 5, 2.0


@dataclass(frozen=True)
class Claims:
    """Per grid, whether any comparison was called different, or equivalent, at any look that was taken."""

    different: Mask
    equivalent: Mask


def planned_looks(grids: int, quick: bool) -> Iterator[Check]:
    """False claims over all looks, simulated and by the scheduler itself; and the cost of testing at 5 % each time."""
    for kind in (NORMAL, HEAVY, ARM_5):
        stops, different, equivalent = _stops(grids, kind), {}, {}
        for shared in (False, True):
            variances = form(shared)
            claims = simulate(differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F"), stops, shared)
            different[variances] = float(claims.different.mean())
            shifted = differences(kind, grids, ARMS, INTERIM_LOOKS[-1], 0.5, "F margin") + MARGIN
            equivalent[variances] = float(simulate(shifted, stops, shared).equivalent.mean())
        yield no_more_than_five("F", f"any false claim over planned looks, {kind}", different, grids)
        yield no_more_than_five("F", f"any false equivalence over planned looks, {kind}", equivalent, grids)
    yield _agreement(30 if quick else 400)
    yield from _looks_at_effects(grids)
    alone = differences(NORMAL, grids, 1, INTERIM_LOOKS[-1], 0.5, "F naive")
    naive = numpy.logical_or.reduce([tests(alone[..., :look], False).p[:, 0] < ALPHA for look in INTERIM_LOOKS])
    yield caught("F", "looks by hand at 5 % each, one comparison", {"5, 8, 12 seeds": float(naive.mean())}, grids)


def _agreement(tables: int) -> Check:
    grid_values = differences(NORMAL, tables, ARMS, INTERIM_LOOKS[-1], 0.5, "F real")
    grid_values[: tables // 2] += 1.0  # so that there is something to claim
    stops, same = _stops(tables, "real"), 0
    simulated = {shared: simulate(grid_values, stops, shared) for shared in (False, True)}
    for table in range(tables):
        shared = table % 2 == 0
        scheduled = schedule(grid_values[table], float(stops[table]), shared)
        found = simulated[shared]
        same += scheduled == (bool(found.different[table]), bool(found.equivalent[table]))
    return all_alike("F", "grids on which the scheduler itself claims what is simulated", same, tables)


def _looks_at_effects(grids: int) -> Iterator[Check]:
    """Factorials whose cells all get the seeds of every look, so that each look states effects too."""
    planned, by_hand = {}, {}
    for levels, shared in product(DESIGNS[:2], (False, True)):
        design = Factorial(levels)
        values = runs(NORMAL, grids, len(design.cells) - 1, INTERIM_LOOKS[-1], 0.5, "F effects")
        at_looks = [together(*design.tests(values[..., :look], shared)) for look in INTERIM_LOOKS]
        stated = [judge(found, MARGIN, alpha).any_difference for found, alpha in zip(at_looks, ALPHAS, strict=True)]
        setting = f"{design.name}, {'shared' if shared else 'own'} variances"
        planned[setting] = float(numpy.logical_or.reduce(stated).mean())
        if not shared:
            naive = [judge(found, MARGIN).any_difference for found in at_looks]
            by_hand[design.name] = float(numpy.logical_or.reduce(naive).mean())
    yield no_more_than_five("F", "any false statement over planned looks, effects included", planned, grids)
    yield caught("F", "looks by hand at 5 % each, effects included", by_hand, grids)


def _stops(grids: int, kind: str) -> Array:
    """The number of seeds at which the user of each grid stops: anywhere from the first look to past the last."""
    return numpy.floor(
        INTERIM_LOOKS[0] + uniform([grids], "F stops", kind) * (INTERIM_LOOKS[-1] + 2 - INTERIM_LOOKS[0])
    )


def simulate(table: Array, stops: Array, shared: bool) -> Claims:
    """All grids at once, from differences [grids, arms, seeds] and the number of seeds at which each user stops."""
    looks, alphas = numpy.array(INTERIM_LOOKS), numpy.array([alpha_at(look) for look in INTERIM_LOOKS])
    last = numpy.array([INTERIM_LOOKS.index(seeds_at(int(stop))) for stop in stops])
    at = numpy.zeros(table.shape[:2], dtype=int)  # the look of each arm
    different, equivalent = numpy.zeros(len(table), dtype=bool), numpy.zeros(len(table), dtype=bool)
    for look in range(len(looks)):
        present = numpy.arange(table.shape[-1]) < looks[at][..., None]
        judged = judge(tests(numpy.where(present, table, numpy.nan), shared), MARGIN, alphas[at])
        taken = look <= last
        different |= judged.any_difference & taken
        equivalent |= judged.equivalent.any(-1) & taken
        at = numpy.where(judged.differs | judged.equivalent, at, numpy.minimum(look + 1, len(looks) - 1))
    return Claims(different, equivalent)


def schedule(table: Array, stop: float, shared: bool) -> tuple[bool, bool]:
    """One grid by ``adjust_family`` and ``next_interim_look``: whether any arm was called different, or equivalent."""
    seeds = {str(arm): INTERIM_LOOKS[0] for arm in range(len(table))}
    total, different, equivalent = INTERIM_LOOKS[0], False, False
    while True:
        tested = {arm: seeds_at(count) for arm, count in seeds.items()}
        rows = [table[int(arm), :n].tolist() for arm, n in tested.items()]
        verdicts = adjust_family(one_by_one(rows, MARGIN, [alpha_at(n) for n in tested.values()], shared))
        different |= any(verdict.label in ("better", "worse") or verdict.within_margin for verdict in verdicts)
        equivalent |= any(verdict.label == "equivalent" for verdict in verdicts)
        look = next_interim_look({arm: [v] for arm, v in zip(seeds, verdicts, strict=True)}, "baseline", total)
        if look is None or look.seeds > stop:
            return different, equivalent
        total = look.seeds
        seeds |= {arm: total for arm in look.arms if arm in seeds}
