"""The way from the baseline to a cell: what each of the factors in which they differ has contributed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .contrast import Contrast
from .factorial import Cell, shapley

if TYPE_CHECKING:
    from .comparison import CellComparison, Comparison


def indices(cell: "CellComparison", factors: Sequence[Mapping[str, Any]]) -> Cell:
    """Of its levels, factor by factor; 0 is the baseline's."""
    return tuple(in_order(factor).index(cell.levels[factor["path"]]) for factor in factors)


def in_order(factor: Mapping[str, Any]) -> list[str]:
    """Its levels, the baseline's first."""
    return sorted(factor["levels"], key=lambda level: level != factor["baseline"])


def shares(comparison: "Comparison", cell: "CellComparison") -> list[tuple[str, Contrast]]:
    """By ``factor=level``, its share of the cell's difference; empty where the grid lacks a cell on the way."""
    factors = comparison.factors
    target = indices(cell, factors)
    if sum(index != 0 for index in target) < 2:
        return []
    values = {indices(other, factors): other.metrics[comparison.metric].values for other in comparison.cells}
    try:
        found = shapley(values, target)
    except InputError:
        return []  # the design left a cell out, or too many factors change at once
    names = {place: f"{factor['name']}={cell.levels[factor['path']]}" for place, factor in enumerate(factors)}
    return [(names[place], contrast) for place, contrast in found.items()]
