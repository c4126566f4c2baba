"""Design: how the levels of the factors are combined into cells."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import ClassVar

from ..registry import register

Combination = tuple[int, ...]
"""One level of each factor, by its index; 0 is the baseline's."""


class Design:
    """Base of the designs."""

    uncrossed: ClassVar[str | None] = None
    """Why nothing can be averaged over the other factors, in words; None where every level meets every other."""
    stepwise: ClassVar[bool] = False
    """Whether each cell goes on from the one before it, so that it is compared with that one too."""
    most_levels: ClassVar[int | None] = None
    """Of one factor; None: any number."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        """The cells for factors with so many levels each: the baseline, all zeros, first; none twice."""
        raise NotImplementedError

    def count(self, n_levels: Sequence[int]) -> int:
        """How many there are, without listing them."""
        raise NotImplementedError


@register("design", "factorial", source="Fisher 1935, The Design of Experiments")
class Factorial(Design):
    """Every level with every other: main effects and all interactions can be told."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        return list(product(*(range(n) for n in n_levels)))

    def count(self, n_levels: Sequence[int]) -> int:
        return prod(n_levels)


@register("design", "one_at_a_time", source="Daniel 1973, One-at-a-Time Plans, JASA 68")
class OneAtATime(Design):
    """The baseline, and every other level alone; leave-one-out of a whole model, add-one-in to a bare one."""

    uncrossed = "levels are compared at the baseline only"

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        baseline = (0,) * len(n_levels)
        alone = [(*baseline[:place], level, *baseline[place + 1 :])
                 for place, n in enumerate(n_levels) for level in range(1, n)]  # fmt: skip
        return [baseline, *alone]

    def count(self, n_levels: Sequence[int]) -> int:
        return 1 + sum(n - 1 for n in n_levels)


@register("design", "cumulative", source="Liu et al. 2022, arXiv:2201.03545")
class Cumulative(Design):
    """The factors' second levels added one after the other, in the order of the file: a roadmap."""

    uncrossed = "each level is compared beside those added before it only"
    stepwise = True
    most_levels = 2

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        cells: list[Combination] = [(0,) * len(n_levels)]
        for place, n in enumerate(n_levels):
            if n > 1:
                cells.append((*cells[-1][:place], 1, *cells[-1][place + 1 :]))
        return cells

    def count(self, n_levels: Sequence[int]) -> int:
        return 1 + sum(n > 1 for n in n_levels)
