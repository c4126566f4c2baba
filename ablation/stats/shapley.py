"""Shapley: the effect of a change, averaged over orders in which it is added to the others.

Over all orders it is the Shapley value, which shares out the whole difference; over some, each with its reverse, it is
an estimate of it (Castro et al. 2009, Computers and Operations Research 36).
"""

from collections.abc import Sequence

from .factorial import Cell


def order_weights(cells: Sequence[Cell], orders: Sequence[Sequence[int]]) -> dict[tuple[int, int], list[float] | None]:
    """By (factor, level), the weights of the cells in the average of a change's steps.

    None where a cell on the way is missing. The weights of one effect sum to 0; those of all effects together are 1 for
    the last cell, -1 for the first and 0 for every other one, so that the effects add up to the whole difference.
    """
    positions = {cell: index for index, cell in enumerate(cells)}
    weights: dict[tuple[int, int], list[float] | None] = {}
    for order in orders:
        at = [0] * len(cells[0])
        for factor in order:
            before = positions.get(tuple(at))
            at[factor] = 1
            after = positions.get(tuple(at))
            of_effect = weights.setdefault((factor, 1), [0.0] * len(cells))
            if before is None or after is None:
                weights[factor, 1] = None
            elif of_effect is not None:
                of_effect[before] -= 1 / len(orders)
                of_effect[after] += 1 / len(orders)
    return weights
