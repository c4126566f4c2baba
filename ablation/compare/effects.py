"""Main effects and interactions of a full factorial: what a level does on average, and whether that misleads."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from ..stats.contrast import Contrast
from ..stats.factorial import Values, interaction, simple_effect
from .attribution import in_order, indices
from .measures import TIMED, reason_missing
from .records import CellComparison, Effect, Given


def main_effects(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[CellComparison],
    names: Sequence[str],
    design: Mapping[str, Any],
) -> tuple[tuple[Effect, ...], tuple[Effect, ...], str | None]:
    """Main effects, two-way interactions, and why there are none although there is more than one factor."""
    varied = [factor for factor in factors if len(factor["levels"]) > 1]
    if len(varied) < 2:
        return (), (), None  # with one factor the main effects are the rows of the table
    planned = set(product(*(factor["levels"] for factor in varied)))
    there = Counter(tuple(cell.levels[factor["path"]] for factor in varied) for cell in cells)
    if set(there) != planned or max(there.values()) > 1:
        return (), (), _uncrossed(design, len(planned & set(there)), len(planned))
    if len({cell.seeds for cell in cells}) > 1:
        return (), (), "cells have different numbers of seeds"
    by_seed = [name for name in names if name not in TIMED]
    table = _Table(varied, cells)
    effects = tuple(
        _effect(table, place, level, by_seed) for place, factor in enumerate(varied) for level in in_order(factor)[1:]
    )
    interactions = tuple(
        _interaction(table, (one, other), levels, by_seed)
        for one, other in combinations(range(len(varied)), 2)
        for levels in product(in_order(varied[one])[1:], in_order(varied[other])[1:])
    )
    return effects, interactions, None


def _uncrossed(design: Mapping[str, Any], found: int, planned: int) -> str:
    """Why an average over the other factors' levels would be over different sets of them."""
    if design.get("uncrossed"):
        return f"design {design['name']}: {design['uncrossed']}"
    if design.get("excluded"):
        return f"{planned - found} of {planned} combinations are excluded: averages would be over different cells"
    return f"not a full factorial, {found} of {planned} combinations of levels are there"


@dataclass(frozen=True)
class _Table:
    """All cells of the factorial, by the indices of their levels."""

    factors: Sequence[Mapping[str, Any]]
    cells: Sequence[CellComparison]

    def contrasts(
        self, names: Sequence[str], places: Sequence[tuple[int, int]], of: Callable[[Values], Contrast]
    ) -> dict[str, Contrast]:
        """Every measure's, or why it has none: an average over fewer cells would compare different sets of them.

        ``places`` are the factors and levels that it is about; cells at other levels of these do not matter.
        """
        found = {}
        about = [
            cell
            for cell in self.cells
            if all(indices(cell, self.factors)[factor] in (0, level) for factor, level in places)
        ]
        for name in names:
            why = reason_missing([run for cell in about for run in cell.results], name)
            values = {indices(cell, self.factors): cell.metrics[name].values for cell in self.cells}
            found[name] = of(values) if why is None else Contrast(None, 0, note=why)
        return found

    def having(self, levels: Mapping[str, str]) -> int:
        """How many cells have all these levels, by the factor's path."""
        return sum(all(cell.levels[path] == level for path, level in levels.items()) for cell in self.cells)


def _effect(table: _Table, place: int, level: str, names: Sequence[str]) -> Effect:
    factor = table.factors[place]
    index = in_order(factor).index(level)
    contrasts = table.contrasts(names, [(place, index)], lambda values: simple_effect(values, place, index))
    path = factor["path"]
    return Effect(path, factor["name"], level, factor["baseline"], table.having({path: level}), contrasts)


def _interaction(table: _Table, places: tuple[int, int], levels: tuple[str, str], names: Sequence[str]) -> Effect:
    one, other = (table.factors[place] for place in places)
    first, second = (
        (place, in_order(factor).index(level))
        for place, factor, level in zip(places, (one, other), levels, strict=True)
    )
    contrasts = table.contrasts(names, [first, second], lambda values: interaction(values, first, second))
    n_cells = table.having({one["path"]: levels[0], other["path"]: levels[1]})
    given = Given(other["path"], other["name"], levels[1], other["baseline"])
    return Effect(one["path"], one["name"], levels[0], one["baseline"], n_cells, contrasts, given)
