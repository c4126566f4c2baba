"""Optimal choice: the cells of which so many tell main effects most surely.

The determinant of the information about all effects is made as large as an exchange of single cells can (Fedorov 1972,
Theory of Optimal Experiments; Mitchell 1974, Technometrics 16). It is the same choice every time, no cell is chosen
twice, and the baseline is always there.
"""

from collections.abc import Sequence

import numpy

Combination = tuple[int, ...]
"""The index of one level of each factor."""

_RIDGE = 1e-6
"""Of the information before any cell is chosen, so that it has an inverse."""
_BETTER = 1 + 1e-9
_PASSES = 50
STARTS = 20


def d_optimal(cells: Sequence[Combination], n: int) -> list[Combination]:
    """``n`` of the cells in their order, the first among them; all where there are no more."""
    if n >= len(cells):
        return list(cells)
    model = model_of(cells)
    starts = range(1, len(cells), max(1, len(cells) // STARTS))  # a single one may end where no exchange helps
    chosen = max((_from(model, start, n) for start in starts), key=lambda chosen: _information(model[chosen]))
    return [cells[index] for index in sorted(chosen)]


def _from(model: numpy.ndarray, start: int, n: int) -> list[int]:
    """A choice with the first cell and, to begin with, ``start``."""
    chosen = [0, start]
    while len(chosen) < n:
        gains = _leverage(model, _inverse(model[chosen]))
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
    for _ in range(_PASSES):
        if not _exchange(model, chosen):
            break
    return chosen


def model_of(cells: Sequence[Combination]) -> numpy.ndarray:
    """A row for every cell; a column for the mean and one for every level but the baseline's."""
    levels = [sorted({cell[factor] for cell in cells} - {cells[0][factor]}) for factor in range(len(cells[0]))]
    effects = [(factor, level) for factor, of_factor in enumerate(levels) for level in of_factor]
    return numpy.array([[1.0, *(float(cell[factor] == level) for factor, level in effects)] for cell in cells])


def _exchange(model: numpy.ndarray, chosen: list[int]) -> bool:
    """Replace each chosen cell but the first by the one that adds most in its place; whether any was replaced."""
    changed = False
    for place in range(1, len(chosen)):
        rest = [*chosen[:place], *chosen[place + 1 :]]
        gains = _leverage(model, _inverse(model[rest]))
        now = gains[chosen[place]]
        gains[rest] = -1
        if (1 + gains.max()) / (1 + now) > _BETTER:
            chosen[place], changed = int(gains.argmax()), True
    return changed


def _information(rows: numpy.ndarray) -> float:
    """The logarithm of the determinant, to a few digits, so that rounding does not choose."""
    return round(float(numpy.linalg.slogdet(rows.T @ rows + _RIDGE * numpy.eye(rows.shape[1]))[1]), 6)


def _inverse(rows: numpy.ndarray) -> numpy.ndarray:
    return numpy.linalg.inv(rows.T @ rows + _RIDGE * numpy.eye(rows.shape[1]))


def _leverage(model: numpy.ndarray, inverse: numpy.ndarray) -> numpy.ndarray:
    """By how much of itself each cell would add to the determinant."""
    leverage: numpy.ndarray = ((model @ inverse) * model).sum(axis=1)
    return leverage
