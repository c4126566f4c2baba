"""Design: how the levels of the factors are combined into cells."""

from collections.abc import Sequence
from itertools import combinations, permutations, product
from math import factorial, prod
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..registry import register
from ..rng import derive

MOST_CANDIDATES = 2_000
"""Of a choice among all combinations, so that it takes seconds."""

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
    ranges: ClassVar[bool] = False
    """Whether each factor is given by the two ends of a range, from which the design takes its levels."""
    n_seeds: ClassVar[int | None] = None
    """The seeds of every cell but the baseline; None: as many as the baseline has."""
    baseline_last: ClassVar[bool] = False
    """Whether the baseline is at the last level of every factor, rather than at the first or a named one."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        """The cells for factors with these numbers of levels: the baseline (all zeros) first, no cell twice."""
        raise NotImplementedError

    def count(self, n_levels: Sequence[int]) -> int:
        """Number of cells, without listing them."""
        raise NotImplementedError

    def choose(self, cells: list[Combination]) -> list[Combination]:
        """Which of the cells that are allowed are run, the baseline first."""
        return cells

    def reason_impossible(self, n_levels: Sequence[int]) -> str | None:
        """Why there is no such design of factors with these numbers of levels, None where there is one."""
        return None

    def orders(self, n_levels: Sequence[int]) -> list[list[int]]:
        """The orders of factors over which effects are averaged; empty where they are not."""
        return []

    def points(self, n_factors: int) -> list[list[float]]:
        """Of a design of ``ranges``, where in them each cell but the baseline is, from 0 to 1."""
        return []

    def confounded(self, n_levels: Sequence[int]) -> list[list[tuple[int, ...]]]:
        """Groups of main effects and interactions of two factors that are confounded; each is given by its factors."""
        return []


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


@register("design", "screen", source="Zhao et al. 2026, arXiv:2605.20798")
class Screen(OneAtATime):
    """Every other level alone with one seed, against the noise of the baseline's seeds: what is worth a closer look."""

    n_seeds = 1


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


@register("design", "averaged_orders", source="Castro et al. 2009, Computers and Operations Research 36")
class AveragedOrders(Design):
    """Each factor's second level added to those before it in several orders, over which its effect is averaged.

    With all orders that is its Shapley value; ``n`` of them, each beside its reverse, estimate it.
    """

    uncrossed = "each level is added to others in several orders"
    max_levels = 2

    def __init__(self, *, n: Annotated[int, Field(ge=2)] = 4):
        self.n = n

    def orders(self, n_levels: Sequence[int]) -> list[list[int]]:
        varied = [factor for factor, n in enumerate(n_levels) if n > 1]
        if factorial(len(varied)) <= self.n:
            return [list(order) for order in permutations(varied)]
        rng, found = Random(derive(0, "orders")), [varied, varied[::-1]]
        while len(found) < self.n:
            order = rng.sample(varied, len(varied))
            found += [each for each in (order, order[::-1]) if each not in found]
        return found[: self.n]

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        cells: dict[Combination, None] = {}
        for order in self.orders(n_levels):
            cells |= dict.fromkeys(prefixes(order, len(n_levels)))
        return list(cells)

    def count(self, n_levels: Sequence[int]) -> int:
        return len(self.combinations(n_levels))


def prefixes(order: Sequence[int], n_factors: int) -> list[Combination]:
    """The cells on the way from the baseline, when the factors' second levels are added in an order."""
    return [tuple(int(factor in order[:length]) for factor in range(n_factors)) for length in range(len(order) + 1)]


@register("design", "latin_hypercube", source="McKay et al. 1979, Technometrics 21")
class LatinHypercube(Design):
    """``n`` cells anywhere within ranges, spread so that each n-th part of every range has one; for surfaces.

    Each factor is the two ends of a range, in whole numbers or not; the baseline is in the middle. Where the upper end
    is ten times the lower one or more, the range is logarithmic.
    """

    uncrossed = "its cells lie anywhere within the ranges"
    ranges = True

    def __init__(self, *, n: Annotated[int, Field(ge=2, le=MOST_CANDIDATES)] = 16):
        self.n = n

    def points(self, n_factors: int) -> list[list[float]]:
        from ..stats.optimal import latin_hypercube

        return latin_hypercube(self.n, n_factors, derive(0, "latin hypercube"))

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        return [(cell,) * len(n_levels) for cell in range(self.n + 1)]

    def count(self, n_levels: Sequence[int]) -> int:
        return self.n + 1


@register("design", "fractional", source="Box and Hunter 1961, Technometrics 3")
class Fractional(Design):
    """The half, quarter, ... of a factorial of two-level factors from which most is estimable.

    With ``resolution`` 3 main effects are confounded with interactions of two factors, with 4 these only with each
    other, with 5 neither.
    """

    max_levels = 2

    def __init__(self, *, resolution: Literal[3, 4, 5] = 4):
        self.resolution = resolution

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        cells = []
        for signs in self._signs(sum(n > 1 for n in n_levels)):
            varied = iter(signs)
            cells.append(tuple(int(next(varied) > 0) if n > 1 else 0 for n in n_levels))
        return cells

    def count(self, n_levels: Sequence[int]) -> int:
        return len(self._signs(sum(n > 1 for n in n_levels)))

    def confounded(self, n_levels: Sequence[int]) -> list[list[tuple[int, ...]]]:
        varied = [factor for factor, n in enumerate(n_levels) if n > 1]
        signs = self._signs(len(varied))
        groups: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for size in (1, 2):
            for columns in combinations(range(len(varied)), size):
                product_of = tuple(prod(row[column] for column in columns) for row in signs)
                turned = tuple(sign * product_of[0] for sign in product_of)
                groups.setdefault(turned, []).append(tuple(varied[column] for column in columns))
        return [group for group in groups.values() if len(group) > 1]

    def _signs(self, n_factors: int) -> list[tuple[int, ...]]:
        """-1 and 1 for every cell and factor that varies, the baseline of -1 first."""
        if n_factors < self.resolution:  # no part of so few says as much as the whole
            return list(product((-1, 1), repeat=n_factors))
        from pydoe import fracfact_by_res

        rows = fracfact_by_res(n_factors, self.resolution)
        # Another fraction of the same family, with the baseline in it: a factor's levels may be exchanged.
        return [tuple(int(-sign * first) for sign, first in zip(row, rows[0], strict=True)) for row in rows]


@register("design", "d_optimal", source="Fedorov 1972, Theory of Optimal Experiments")
class DOptimal(Design):
    """The ``n`` allowed cells that estimate main effects most precisely, where others are excluded or too many.

    By default they are twice as many as the mean and the effects to estimate.
    """

    def __init__(self, *, n: Annotated[int, Field(ge=2)] | None = None):
        self.n = n

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        return Factorial().combinations(n_levels)

    def count(self, n_levels: Sequence[int]) -> int:
        return min(self.n or 2 * _n_effects(n_levels), prod(n_levels))

    def choose(self, cells: list[Combination]) -> list[Combination]:
        from ..stats.least_squares import main_effects_model
        from ..stats.optimal import d_optimal

        model = main_effects_model(cells)[1]
        return [cells[index] for index in d_optimal(model, self.n or 2 * model.shape[1])]

    def reason_impossible(self, n_levels: Sequence[int]) -> str | None:
        needed = _n_effects(n_levels)
        if self.n is not None and self.n < needed:
            return f"n: {self.n} cells are too few for {needed - 1} effects; at least {needed} are needed"
        if self.n is not None and self.n > prod(n_levels):
            return f"n: {self.n} is more than the {prod(n_levels)} combinations that there are"
        if prod(n_levels) > MOST_CANDIDATES:
            return f"{prod(n_levels):,} combinations to choose from; at most {MOST_CANDIDATES:,} are searched"
        return None


def _n_effects(n_levels: Sequence[int]) -> int:
    """Those of all levels but the baseline's, and the mean."""
    return 1 + sum(n - 1 for n in n_levels)
