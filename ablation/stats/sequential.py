"""Interim looks: at which numbers of seeds a grid may be tested while seeds are still added, and at what alpha each.

Testing again and again at 5 % finds a difference in 11-18 % of grids without any. Here the numbers of seeds at the
interim looks are fixed beforehand, and the looks divide the 5 % among them (weighted Bonferroni), which holds whatever
the dependence between looks and whatever is done in between. An arm that is decided gets no more seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .verdict import Verdict

INTERIM_LOOKS = (5, 8, 12)
ALPHAS = (0.010, 0.015, 0.025)
ALPHA = 0.05


@dataclass(frozen=True)
class InterimLook:
    """The next look: how many seeds each of the ``arms`` needs; the baseline is always among them."""

    seeds: int
    arms: tuple[str, ...]


def alphas(looks: Sequence[int]) -> tuple[float, ...]:
    """The alpha of each look: ``ALPHAS`` for three looks, in like proportion for other numbers of them.

    The alpha spent after a given fraction of the looks is that of ``ALPHAS``, linear in between; the sum is always .05.
    """
    if len(looks) == len(ALPHAS):
        return ALPHAS
    spent = [_spent(number / len(looks)) for number in range(len(looks) + 1)]
    return tuple(after - before for before, after in pairwise(spent))


def _spent(fraction: float) -> float:
    whole = int(fraction * len(ALPHAS))
    return ALPHA if whole >= len(ALPHAS) else sum(ALPHAS[:whole]) + ALPHAS[whole] * (fraction * len(ALPHAS) - whole)


def seeds_at(seeds: int, looks: Sequence[int] = INTERIM_LOOKS) -> int:
    """How many of ``seeds`` finished seeds are tested: those of the last look that is reached, 0 before the first.

    Between two looks the additional seeds do not count yet: an unplanned look would have no alpha.
    """
    return max((look for look in looks if look <= seeds), default=0)


def alpha_at(seeds: int, looks: Sequence[int] = INTERIM_LOOKS) -> float:
    """The alpha at ``seeds`` finished seeds: that of the last look that is reached, 0 before the first."""
    reached = seeds_at(seeds, looks)
    return alphas(looks)[list(looks).index(reached)] if reached else 0.0


def decided(verdict: Verdict) -> bool:
    """Whether no more seeds are needed: every verdict but inconclusive."""
    return verdict.label != "inconclusive"


def next_interim_look(
    verdicts: Mapping[str, Sequence[Verdict]], baseline: str, seeds: int, looks: Sequence[int] = INTERIM_LOOKS
) -> InterimLook | None:
    """The arms that need more seeds, and how many in all; None if every arm is decided or no look is left.

    ``verdicts`` are those of every arm but the baseline, one or more each; ``seeds`` is how many the baseline has. An
    arm with several verdicts continues until all of them are decided.
    """
    target = min((look for look in looks if look > seeds), default=None)
    open_arms = [arm for arm, of_arm in verdicts.items() if not all(map(decided, of_arm))]
    return InterimLook(target, (baseline, *open_arms)) if target is not None and open_arms else None
