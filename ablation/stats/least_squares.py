"""Least squares: main effects where not every combination of levels has a cell.

The model has a mean and the effect of every level, and no interactions. Its fit to one seed's cells gives an effect per
seed, each a weighted sum over cells; over the seeds these are tested by the paired t, as averages of a full factorial
are. The mean over seeds is the estimate of a regression with blocks of seeds.
"""

from collections.abc import Sequence

from .factorial import Cell

ESTIMABLE = 1e-9
"""The largest part of other effects in an estimate that is rounding."""


def main_effect_weights(cells: Sequence[Cell]) -> dict[tuple[int, int], list[float] | None]:
    """By (factor, level), the weights of the cells in the effect of a level against level 0, which sum to 0.

    None where these cells cannot tell it from other effects.
    """
    import numpy

    levels = [sorted({cell[factor] for cell in cells} - {0}) for factor in range(len(cells[0]))]
    effects = [(factor, level) for factor, of_factor in enumerate(levels) for level in of_factor]
    model = numpy.array([[1.0, *(float(cell[factor] == level) for factor, level in effects)] for cell in cells])
    inverse = numpy.linalg.pinv(model)  # (effects, cells)
    resolution = inverse @ model  # of which an effect's row is its own alone where it can be told
    weights: dict[tuple[int, int], list[float] | None] = {}
    for row, effect in enumerate(effects, start=1):
        others = numpy.abs(resolution[row] - numpy.eye(len(resolution))[row]).max()
        weights[effect] = inverse[row].tolist() if others < ESTIMABLE else None
    return weights
