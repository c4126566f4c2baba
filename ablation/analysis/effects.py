"""Main effects and interactions of a full factorial: what a level does on average, and whether that misleads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .contrast import Contrast, paired
from .measures import SPEED_NOTE, TIMED, TOKENS_PER_SECOND
from .outcome import unfinished
from .verdict import Verdict

if TYPE_CHECKING:
    from .comparison import CellComparison


@dataclass(frozen=True)
class Effect:
    """Cells with a level minus cells with the baseline's level, ``cells`` on either side.

    Of an interaction, how much that difference changes with another factor's level, ``given``: the difference of the
    differences.
    """

    path: str
    name: str
    level: str
    baseline: str
    cells: int
    contrasts: Mapping[str, Contrast]
    given: "Given | None" = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Given:
    """The other factor of an interaction."""

    path: str
    name: str
    level: str
    baseline: str


def main_effects(
    factors: Sequence[Mapping[str, Any]], cells: "Sequence[CellComparison]", names: Sequence[str]
) -> tuple[tuple[Effect, ...], tuple[Effect, ...], str | None]:
    """Main effects, two-way interactions, and why there are none although there is more than one factor."""
    varied = [factor for factor in factors if len(factor["levels"]) > 1]
    if len(varied) < 2:
        return (), (), None  # with one factor the main effects are the rows of the table
    planned = set(product(*(factor["levels"] for factor in varied)))
    there = Counter(tuple(cell.levels[factor["path"]] for factor in varied) for cell in cells)
    if set(there) != planned or max(there.values()) > 1:
        found = len(planned & set(there))
        return (), (), f"not a full factorial, {found} of {len(planned)} combinations of levels are there"
    if len({cell.seeds for cell in cells}) > 1:
        return (), (), "cells have different numbers of seeds"
    by_seed = [name for name in names if name not in TIMED]
    effects = tuple(
        _effect(factor, level, cells, by_seed)
        for factor in varied
        for level in factor["levels"]
        if level != factor["baseline"]
    )
    interactions = tuple(
        _interaction(one, level, other, given, cells, by_seed)
        for one, other in combinations(varied, 2)
        for level in one["levels"]
        for given in other["levels"]
        if level != one["baseline"] and given != other["baseline"]
    )
    return effects, interactions, None


def _effect(factor: Mapping[str, Any], level: str, cells: "Sequence[CellComparison]", names: Sequence[str]) -> Effect:
    path, reference = factor["path"], factor["baseline"]
    having = [cell for cell in cells if cell.levels[path] == level]
    against = [cell for cell in cells if cell.levels[path] == reference]
    contrasts = {
        name: paired(_per_seed(having, name), _per_seed(against, name), _obstacle([*having, *against], name))
        for name in names
    }
    return Effect(path, factor["name"], level, reference, len(having), contrasts)


def _interaction(
    one: Mapping[str, Any],
    level: str,
    other: Mapping[str, Any],
    given: str,
    cells: "Sequence[CellComparison]",
    names: Sequence[str],
) -> Effect:
    def having(first: str, second: str) -> "list[CellComparison]":
        return [c for c in cells if c.levels[one["path"]] == first and c.levels[other["path"]] == second]

    corners = [having(a, b) for a in (level, one["baseline"]) for b in (given, other["baseline"])]
    contrasts = {}
    for name in names:
        both, first, second, neither = (_per_seed(corner, name) for corner in corners)
        contrasts[name] = paired(
            _minus(both, second),
            _minus(first, neither),
            _obstacle([cell for corner in corners for cell in corner], name),
        )
    return Effect(
        one["path"],
        one["name"],
        level,
        one["baseline"],
        len(corners[0]),
        contrasts,
        Given(other["path"], other["name"], given, other["baseline"]),
    )


def _minus(values: Sequence[float | None], references: Sequence[float | None]) -> list[float | None]:
    return [None if v is None or r is None else v - r for v, r in zip(values, references, strict=True)]


def _obstacle(cells: "Sequence[CellComparison]", name: str) -> str | None:
    if name == TOKENS_PER_SECOND:
        return SPEED_NOTE
    return unfinished([outcome for cell in cells for outcome in cell.outcomes], name)


def _per_seed(cells: "Sequence[CellComparison]", name: str) -> list[float | None]:
    """For each seed the mean over the cells, or None where a cell has no value or did not complete.

    An average over fewer cells on one side would compare different sets of cells.
    """
    complete = _obstacle(cells, name) in (None, SPEED_NOTE)
    means: list[float | None] = []
    for column in zip(*(cell.metrics[name].values for cell in cells), strict=True):
        present = [value for value in column if value is not None]
        means.append(fmean(present) if complete and len(present) == len(column) else None)
    return means
