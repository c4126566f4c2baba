"""Design: how the levels of the factors are combined into cells."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import ClassVar, Literal

from ..registry import register

Combination = tuple[int, ...]
"""The index of one level of each factor; 0 is the baseline's level."""


class Design:
    """Base of the designs."""

    uncrossed: ClassVar[str | None] = None
    """The reason, for a reader, why effects cannot be averaged over the levels of other factors; None: they can."""
    stepwise: ClassVar[bool] = False
    """Whether each cell changes the one before it, so that it is compared with that one too."""
    max_levels: ClassVar[int | None] = None
    """Largest number of levels of a factor; None: no limit."""
    baseline_last: ClassVar[bool] = False
    """Whether the baseline is at the last level of every factor, rather than at the first or a named one."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        """The cells for factors with these numbers of levels: the baseline (all zeros) first, no cell twice."""
        raise NotImplementedError

    def count(self, n_levels: Sequence[int]) -> int:
        """Number of cells, without listing them."""
        raise NotImplementedError


@register("design", "factorial", source="Fisher 1935, The Design of Experiments")
class Factorial(Design):
    """All combinations of levels: main effects and all interactions can be estimated."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        return list(product(*(range(n) for n in n_levels)))

    def count(self, n_levels: Sequence[int]) -> int:
        return prod(n_levels)


@register("design", "one_at_a_time", source="Daniel 1973, One-at-a-Time Plans, JASA 68")
class OneAtATime(Design):
    """The baseline, and every other level alone."""

    uncrossed = "levels are compared at the baseline only"

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        baseline = (0,) * len(n_levels)
        changed = [(*baseline[:factor], level, *baseline[factor + 1 :])
                   for factor, n in enumerate(n_levels) for level in range(1, n)]  # fmt: skip
        return [baseline, *changed]

    def count(self, n_levels: Sequence[int]) -> int:
        return 1 + sum(n - 1 for n in n_levels)


@register("design", "leave_one_out", source="Meyes et al. 2019, arXiv:1901.08644")
class LeaveOneOut(OneAtATime):
    """The whole model, the first level of every factor, and the model without each part, at its second level."""

    uncrossed = "each part is left out of the whole model, with all others there"
    max_levels = 2


@register("design", "add_one", source="Meyes et al. 2019, arXiv:1901.08644")
class AddOne(OneAtATime):
    """The mirror of leave_one_out: the bare model, the second level of every factor, and each part added alone."""

    uncrossed = "each part is added to the bare model, with no other there"
    max_levels = 2
    baseline_last = True


@register("design", "cumulative", source="Liu et al. 2022, arXiv:2201.03545")
class Cumulative(Design):
    """Each factor's second level added to the cell before, in the order of the file or against it: a roadmap."""

    uncrossed = "each level is compared only with those added before it present"
    stepwise = True
    max_levels = 2

    def __init__(self, *, order: Literal["forward", "reverse"] = "forward"):
        self.order = order

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        varied = [factor for factor, n in enumerate(n_levels) if n > 1]
        cells: list[Combination] = [(0,) * len(n_levels)]
        for factor in varied if self.order == "forward" else reversed(varied):
            cells.append((*cells[-1][:factor], 1, *cells[-1][factor + 1 :]))
        return cells

    def count(self, n_levels: Sequence[int]) -> int:
        return 1 + sum(n > 1 for n in n_levels)
