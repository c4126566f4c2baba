"""What a full factorial says beyond its main effects: interactions, simple effects, and shares of the way to a cell.

``values`` maps a cell, the indices of its levels factor by factor, to its metric per seed; index 0 is the baseline's
level. Every statistic is computed per seed and then goes through the paired t of ``contrast``, so that cells of unequal
noise do not disturb it. A seed without a value in one of the cells has none in the contrast.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import comb, fsum

from ..errors import InputError
from .contrast import Contrast, paired

Cell = tuple[int, ...]
Values = Mapping[Cell, Sequence[float | None]]

MOST_FACTORS = 5


def simple_effect(values: Values, factor: int, level: int, given: Mapping[int, int] | None = None) -> Contrast:
    """A level of a factor against its baseline, at the levels ``given`` of other factors, averaged over the rest.

    Without ``given`` it is the main effect.
    """
    fixed = dict(given or {})
    assert factor not in fixed, "a factor is not varied and held at once"
    return paired(_mean(values, {**fixed, factor: level}), _mean(values, {**fixed, factor: 0}))


def interaction(values: Values, first: tuple[int, int], second: tuple[int, int]) -> Contrast:
    """How much more a level of one factor does beside a level of another, averaged over the other factors' cells.

    ``first`` and ``second`` are (factor, level): y(a, b) - y(a0, b) - y(a, b0) + y(a0, b0) per seed.
    """
    (a, level_a), (b, level_b) = first, second
    assert a != b, "an interaction is between two factors"
    both, neither = _mean(values, {a: level_a, b: level_b}), _mean(values, {a: 0, b: 0})
    only_a, only_b = _mean(values, {a: level_a, b: 0}), _mean(values, {a: 0, b: level_b})
    # As sums, and not as differences of differences, the contrast can tell rounding from noise.
    return paired(_weighted([both, neither], [1.0, 1.0]), _weighted([only_a, only_b], [1.0, 1.0]))


def shapley(values: Values, target: Cell) -> dict[int, Contrast]:
    """How the way from the baseline to ``target`` divides over the factors in which they differ, by factor.

    The share of a factor is what it adds, averaged over all orders in which the factors can be changed (Shapley 1953);
    per seed the shares sum to the whole difference. Raises InputError above five factors, and if a cell on the way is
    not in the grid.
    """
    changed = [factor for factor, level in enumerate(target) if level != 0]
    if len(changed) > MOST_FACTORS:
        raise InputError(f"shares of {len(changed)} factors: at most {MOST_FACTORS} can be shared out")
    shares = {}
    for factor in changed:
        others = [other for other in changed if other != factor]
        before = [subset for size in range(len(others) + 1) for subset in combinations(others, size)]
        weights = [1 / (len(changed) * comb(len(others), len(subset))) for subset in before]
        after = [_at(values, target, (*subset, factor)) for subset in before]
        shares[factor] = paired(
            _weighted(after, weights), _weighted([_at(values, target, subset) for subset in before], weights)
        )
    return shares


def _at(values: Values, target: Cell, changed: Sequence[int]) -> Sequence[float | None]:
    cell = tuple(level if factor in changed else 0 for factor, level in enumerate(target))
    return _cell(values, cell)


def _mean(values: Values, held: Mapping[int, int]) -> list[float | None]:
    """Per seed the mean over all cells that have the levels ``held``."""
    levels = [sorted({cell[factor] for cell in values}) for factor in range(len(next(iter(values))))]
    choices = [[held[factor]] if factor in held else levels[factor] for factor in range(len(levels))]
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
