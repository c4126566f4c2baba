"""Least squares: effects where not every combination of levels has a cell.

The model has a mean, the effects of levels and, where these cells can estimate all of them, the interactions of two
factors. Its fit to one seed's cells gives an effect per seed, each a weighted sum over cells; over the seeds these are
tested by the paired t, as averages of a full factorial are. The mean over seeds is the estimate of a regression with
blocks of seeds. Effects are averages over all levels of the other factors, as those of a full factorial are.
"""

from collections.abc import Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

from .factorial import Cell

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

ESTIMABLE = 1e-9
"""The largest part of other effects in an estimate that is rounding."""
Varied = tuple[tuple[int, int], ...]
"""What an effect is of: one (factor, level) against level 0, or two, whose interaction it is."""


def effect_weights(cells: Sequence[Cell]) -> dict[Varied, list[float] | None]:
    """The weights of the cells in every main effect, and in every interaction where all of them are estimable.

    They sum to 0. None for a main effect that is not estimable from these cells.
    """
    with_interactions = _weights(cells, most=2)
    return _weights(cells, most=1) if None in with_interactions.values() else with_interactions


def main_effects_model(cells: Sequence[Cell]) -> "tuple[list[tuple[int, int]], NDArray[float64]]":
    """The effects, each a (factor, level), and a row for every cell: a column for the mean and one for each effect.

    The baseline is the first cell, whose levels have no effect.
    """
    import numpy

    effects = [(factor, level) for factor, of_factor in enumerate(_levels(cells)) for level in of_factor[1:]]
    rows = [[1.0, *(float(cell[factor] == level) for factor, level in effects)] for cell in cells]
    return effects, numpy.array(rows)


def _weights(cells: Sequence[Cell], most: int) -> dict[Varied, list[float] | None]:
    """Of the effects of up to ``most`` factors, those of each adding up to 0 over its levels."""
    import numpy

    levels = _levels(cells)
    codes = [dict(zip(of_factor, _adding_up_to_zero(len(of_factor)), strict=True)) for of_factor in levels]
    groups = [group for size in range(most + 1) for group in combinations(range(len(levels)), size)]

    def columns(group: tuple[int, ...], values: "Sequence[NDArray[float64]]") -> "NDArray[float64]":
        """Of a group of factors: the products of what each factor has, in every row of ``values``."""
        products = numpy.ones((len(values[0]), 1))
        for factor in group:
            n_columns = products.shape[1] * values[factor].shape[1]
            products = (products[:, :, None] * values[factor][:, None, :]).reshape(len(products), n_columns)
        return products

    in_cells = [numpy.array([code[cell[factor]] for cell in cells]) for factor, code in enumerate(codes)]
    parts = [columns(group, in_cells) for group in groups]
    model = numpy.hstack(parts)
    ends = numpy.cumsum([0, *(part.shape[1] for part in parts)])
    asked: list[Varied] = []
    effects: list[NDArray[float64]] = []
    for of_effect, first, last in zip(groups[1:], ends[1:-1], ends[2:], strict=True):
        for changed in product(*(levels[factor][1:] for factor in of_effect)):
            varied = tuple(zip(of_effect, changed, strict=True))
            differences = [code[of_factor[0]][None] for code, of_factor in zip(codes, levels, strict=True)]
            for factor, level in varied:
                differences[factor] = codes[factor][level] - differences[factor]
            asked.append(varied)
            effects.append(numpy.zeros(model.shape[1]))
            effects[-1][first:last] = columns(of_effect, differences)
    wanted = numpy.array(effects).reshape(len(effects), model.shape[1])
    found = wanted @ numpy.linalg.pinv(model)
    estimable = numpy.abs(found @ model - wanted).max(1) < ESTIMABLE
    return {varied: row.tolist() if known else None
            for varied, row, known in zip(asked, found, estimable, strict=True)}  # fmt: skip


def _levels(cells: Sequence[Cell]) -> list[list[int]]:
    """Those that each factor has in these cells, the baseline's first."""
    baseline = cells[0]
    return [
        [baseline[factor], *sorted({cell[factor] for cell in cells} - {baseline[factor]})]
        for factor in range(len(baseline))
    ]


def _adding_up_to_zero(n: int) -> "NDArray[float64]":
    """A row of ``n - 1`` numbers for each of ``n`` levels; each column sums to 0."""
    import numpy

    return numpy.concatenate([numpy.eye(n - 1), numpy.full((1, n - 1), -1.0)])
