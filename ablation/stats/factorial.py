"""Effects in a full factorial: main effects, interactions, and Shapley values of a cell's difference to the baseline.

``values`` maps a cell, the indices of its levels factor by factor, to its metric per seed; index 0 is the baseline's
level. Every statistic is computed per seed and then tested by the paired t of ``contrast``, which holds for cells of
unequal noise. A seed without a value in one of the cells has none in the contrast.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import comb, fsum, prod

from ..errors import InputError
from .contrast import CONFIDENCE, Contrast, Pairs, paired

Cell = tuple[int, ...]
Values = Mapping[Cell, Sequence[float | None]]

MAX_FACTORS = 5


def main_effect(values: Values, factor: int, level: int, confidence: float = CONFIDENCE) -> Contrast:
    """A level of a factor against its baseline's, averaged over all levels of the other factors."""
    pairs = Means(Layout(list(values)), list(values.values())).main_effect(factor, level, confidence)
    return paired(pairs.values, pairs.references, confidence=confidence)


def interaction(
    values: Values, first: tuple[int, int], second: tuple[int, int], confidence: float = CONFIDENCE
) -> Contrast:
    """How the effect of one factor's level changes with another's level, averaged over the other factors.

    ``first`` and ``second`` are (factor, level): y(a, b) - y(a0, b) - y(a, b0) + y(a0, b0) per seed.
    """
    pairs = Means(Layout(list(values)), list(values.values())).interaction(first, second, confidence)
    return paired(pairs.values, pairs.references, confidence=confidence)


class Layout:
    """The cells of a full factorial, grouped by their levels of some factors; all measures share it."""

    def __init__(self, cells: Sequence[Cell]):
        self.cells = cells
        self.levels = [sorted({cell[factor] for cell in cells}) for factor in range(len(cells[0]))]
        self._groups: dict[tuple[int, ...], dict[tuple[int, ...], list[int]]] = {}

    def groups(self, factors: tuple[int, ...]) -> dict[tuple[int, ...], list[int]]:
        """The positions of the cells by their levels of these factors. Errors: InputError where cells are missing."""
        if factors not in self._groups:
            groups: dict[tuple[int, ...], list[int]] = {}
            for position, cell in enumerate(self.cells):
                groups.setdefault(tuple([cell[factor] for factor in factors]), []).append(position)
            if len(self.cells) < prod(map(len, self.levels)):
                existing = set(self.cells)
                missing = next(cell for cell in product(*self.levels) if cell not in existing)
                raise InputError(f"not a full factorial: no cell with the levels {missing}")
            self._groups[factors] = groups
        return self._groups[factors]


class Means:
    """Per seed the means of one measure over all cells with some levels, each of which is computed once.

    ``values`` are those of the cells in the order of the ``layout``, seed by seed.
    """

    def __init__(self, layout: Layout, values: Sequence[Sequence[float | None]]):
        self.layout, self.values = layout, values
        self._known: dict[tuple[int, ...], dict[tuple[int, ...], list[float | None]]] = {}

    def main_effect(self, factor: int, level: int, confidence: float = CONFIDENCE) -> Pairs:
        """What ``main_effect`` is the contrast of."""
        return Pairs(self._mean((factor, level)), self._mean((factor, 0)), confidence=confidence)

    def interaction(self, first: tuple[int, int], second: tuple[int, int], confidence: float = CONFIDENCE) -> Pairs:
        """What ``interaction`` is the contrast of."""
        assert first[0] != second[0], "an interaction is between two factors"
        none = (first[0], 0), (second[0], 0)
        both, neither = self._mean(first, second), self._mean(*none)
        only_first, only_second = self._mean(first, none[1]), self._mean(none[0], second)
        # Of sums, since from differences of differences the contrast could not separate rounding from noise.
        ones = [1.0, 1.0]
        return Pairs(weighted([both, neither], ones), weighted([only_first, only_second], ones), confidence=confidence)

    def _mean(self, *fixed: tuple[int, int]) -> list[float | None]:
        fixed = tuple(sorted(fixed))
        factors = tuple([factor for factor, _ in fixed])
        if factors not in self._known:
            self._known[factors] = {
                levels: weighted([self.values[position] for position in group], [1 / len(group)] * len(group))
                for levels, group in self.layout.groups(factors).items()
            }
        levels = tuple([level for _, level in fixed])
        if levels not in self._known[factors]:
            raise InputError(f"not a full factorial: no cell with the level {levels} of the factors {factors}")
        return self._known[factors][levels]


def shapley(values: Values, target: Cell, confidence: float = CONFIDENCE) -> dict[int, Contrast]:
    """The Shapley value of each factor in which ``target`` differs from the baseline (Shapley 1953).

    It is what the change of the factor adds, averaged over all orders in which the factors can be changed; per seed
    they sum to the whole difference. Errors: InputError for more than five factors, and where a cell between the two is
    not in the grid.
    """
    changed = [factor for factor, level in enumerate(target) if level != 0]
    if len(changed) > MAX_FACTORS:
        raise InputError(f"Shapley values of {len(changed)} factors: at most {MAX_FACTORS} are allowed")
    contributions = {}
    for factor in changed:
        others = [other for other in changed if other != factor]
        before = [subset for size in range(len(others) + 1) for subset in combinations(others, size)]
        weights = [1 / (len(changed) * comb(len(others), len(subset))) for subset in before]
        after = [_at(values, target, (*subset, factor)) for subset in before]
        contributions[factor] = paired(
            weighted(after, weights),
            weighted([_at(values, target, subset) for subset in before], weights),
            confidence=confidence,
        )
    return contributions


def _at(values: Values, target: Cell, changed: Sequence[int]) -> Sequence[float | None]:
    cell = tuple(level if factor in changed else 0 for factor, level in enumerate(target))
    return _cell(values, cell)


def _cell(values: Values, cell: Cell) -> Sequence[float | None]:
    if cell not in values:
        raise InputError(f"not a full factorial: no cell with the levels {cell}")
    return values[cell]


def weighted(cells: Sequence[Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """Per seed the weighted sum over the cells; None where one has no value."""
    sums: list[float | None] = []
    equal = weights[0] if weights and weights.count(weights[0]) == len(weights) else None
    for column in zip(*cells, strict=True):
        if equal is not None and None not in column:
            sums.append(fsum([equal * value for value in column]))
            continue
        present = [weight * value for weight, value in zip(weights, column, strict=True) if value is not None]
        sums.append(fsum(present) if len(present) == len(column) else None)
    return sums
