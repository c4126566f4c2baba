"""Effects in a full factorial: main effects, interactions, and Shapley values of a cell's difference to the baseline.

``values`` maps a cell, the indices of its levels factor by factor, to its metric per seed; index 0 is the baseline's
level. Every statistic is computed per seed and then tested by the paired t of ``contrast``, which holds for cells of
unequal noise. A seed without a value in one of the cells has none in the contrast.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import comb, fsum

from ..errors import InputError
from .contrast import CONFIDENCE, Contrast, paired

Cell = tuple[int, ...]
Values = Mapping[Cell, Sequence[float | None]]

MAX_FACTORS = 5


def main_effect(values: Values, factor: int, level: int, confidence: float = CONFIDENCE) -> Contrast:
    """A level of a factor against its baseline's, averaged over all levels of the other factors."""
    return paired(_mean(values, {factor: level}), _mean(values, {factor: 0}), confidence=confidence)


def interaction(
    values: Values, first: tuple[int, int], second: tuple[int, int], confidence: float = CONFIDENCE
) -> Contrast:
    """How the effect of one factor's level changes with another's level, averaged over the other factors.

    ``first`` and ``second`` are (factor, level): y(a, b) - y(a0, b) - y(a, b0) + y(a0, b0) per seed.
    """
    (a, level_a), (b, level_b) = first, second
    assert a != b, "an interaction is between two factors"
    both, neither = _mean(values, {a: level_a, b: level_b}), _mean(values, {a: 0, b: 0})
    only_a, only_b = _mean(values, {a: level_a, b: 0}), _mean(values, {a: 0, b: level_b})
    # Of sums, since from differences of differences the contrast could not separate rounding from noise.
    return paired(
        _weighted([both, neither], [1.0, 1.0]), _weighted([only_a, only_b], [1.0, 1.0]), confidence=confidence
    )


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
            _weighted(after, weights),
            _weighted([_at(values, target, subset) for subset in before], weights),
            confidence=confidence,
        )
    return contributions


def _at(values: Values, target: Cell, changed: Sequence[int]) -> Sequence[float | None]:
    cell = tuple(level if factor in changed else 0 for factor, level in enumerate(target))
    return _cell(values, cell)


def _mean(values: Values, fixed: Mapping[int, int]) -> list[float | None]:
    """Per seed the mean over all cells with the levels ``fixed``, by factor."""
    levels = [sorted({cell[factor] for cell in values}) for factor in range(len(next(iter(values))))]
    choices = [[fixed[factor]] if factor in fixed else levels[factor] for factor in range(len(levels))]
    cells = [_cell(values, cell) for cell in product(*choices)]
    return _weighted(cells, [1 / len(cells)] * len(cells))


def _cell(values: Values, cell: Cell) -> Sequence[float | None]:
    if cell not in values:
        raise InputError(f"not a full factorial: no cell with the levels {cell}")
    return values[cell]


def _weighted(cells: Sequence[Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """Per seed the weighted sum over the cells; None where one has no value."""
    sums: list[float | None] = []
    for column in zip(*cells, strict=True):
        present = [weight * value for weight, value in zip(weights, column, strict=True) if value is not None]
        sums.append(fsum(present) if len(present) == len(column) else None)
    return sums
