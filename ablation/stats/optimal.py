"""Optimal choice: the cells that estimate main effects most precisely.

The determinant of the information about all effects is made as large as an exchange of single cells can (Fedorov 1972,
Theory of Optimal Experiments; Mitchell 1974, Technometrics 16). It is the same choice every time, no cell is chosen
twice, and the baseline is always there.
"""

import numpy

_RIDGE = 1e-6
"""Of the information before any cell is chosen, so that it has an inverse."""
_BETTER = 1 + 1e-9
_PASSES = 50
STARTS = 20


def d_optimal(model: numpy.ndarray, n: int) -> list[int]:
    """The indices of ``n`` rows of a model in their order, the first among them; all where there are no more."""
    if n >= len(model):
        return list(range(len(model)))
    starts = range(1, len(model), max(1, len(model) // STARTS))  # a single one may end where no exchange helps
    chosen = max((_from(model, start, n) for start in starts), key=lambda chosen: _information(model[chosen]))
    return sorted(chosen)


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


def latin_hypercube(n: int, n_factors: int, seed: int) -> list[list[float]]:
    """``n`` points of the unit cube: of each coordinate every n-th part has one, and pairs are spread evenly."""
    from scipy.stats.qmc import LatinHypercube

    sampler = LatinHypercube(n_factors, rng=seed, optimization="random-cd")
    return [[float(part) for part in point] for point in sampler.random(n)]
