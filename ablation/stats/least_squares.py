"""Least squares: main effects where not every combination of levels has a cell.

The model has a mean and the effect of every level, and no interactions. Its fit to one seed's cells gives an effect per
seed, each a weighted sum over cells; over the seeds these are tested by the paired t, as averages of a full factorial
are. The mean over seeds is the estimate of a regression with blocks of seeds.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .factorial import Cell

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

ESTIMABLE = 1e-9
"""The largest part of other effects in an estimate that is rounding."""


def main_effect_weights(cells: Sequence[Cell]) -> dict[tuple[int, int], list[float] | None]:
    """By (factor, level), the weights of the cells in the effect of a level against level 0, which sum to 0.

    None where it is not estimable from these cells.
    """
    import numpy

    effects, model = main_effects_model(cells)
    inverse = numpy.linalg.pinv(model)  # (effects, cells)
    resolution = inverse @ model  # of which an effect's row is its own alone where it is estimable
    weights: dict[tuple[int, int], list[float] | None] = {}
    for row, effect in enumerate(effects, start=1):
        others = numpy.abs(resolution[row] - numpy.eye(len(resolution))[row]).max()
        weights[effect] = inverse[row].tolist() if others < ESTIMABLE else None
    return weights


def main_effects_model(cells: Sequence[Cell]) -> "tuple[list[tuple[int, int]], NDArray[float64]]":
    """The effects, each a (factor, level), and a row for every cell: a column for the mean and one for each effect.

    The baseline is the first cell, whose levels have no effect.
    """
    import numpy

    levels = [sorted({cell[factor] for cell in cells} - {cells[0][factor]}) for factor in range(len(cells[0]))]
    effects = [(factor, level) for factor, of_factor in enumerate(levels) for level in of_factor]
    rows = [[1.0, *(float(cell[factor] == level) for factor, level in effects)] for cell in cells]
    return effects, numpy.array(rows)
