"""Matching the members of several sets that have no order of their own, such as the heads of a layer over seeds."""

from collections.abc import Sequence

Features = Sequence[Sequence[float]]
"""One row of numbers for each member."""


def match(sets: Sequence[Features]) -> list[list[int]]:
    """By set, the index of the member that stands for each member of a reference: equally many in all sets.

    The reference is the set whose best matches with all others are closest. Each match minimizes the sum of squared
    differences of the features (the assignment problem, Kuhn 1955).
    """
    matches = [[_assign(reference, other) for other in sets] for reference in sets]
    totals = [sum(cost for cost, _ in row) for row in matches]
    best = min(range(len(sets)), key=lambda index: totals[index])
    return [members for _, members in matches[best]]


def _assign(reference: Features, other: Features) -> tuple[float, list[int]]:
    """What the best match costs, and the members of ``other`` in the order of ``reference``."""
    import numpy
    from scipy.optimize import linear_sum_assignment

    one, two = numpy.array(reference, dtype=float), numpy.array(other, dtype=float)
    costs = ((one[:, None] - two[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].sum()), [int(column) for column in columns]
