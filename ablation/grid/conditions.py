"""Conditions: factors that exist only under levels of others, cells that are left out, cells that set more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ..yaml import Document
from .design import Combination
from .factors import INACTIVE, Factor, LevelOfFactor, Setting, find, settings
from .schema import REASON, GridConfig


@dataclass(frozen=True)
class Condition:
    """Under which levels of other factors a factor exists."""

    factor: int
    levels: Mapping[int, frozenset[int]]
    """By the index of the other factor."""

    def holds(self, cell: Sequence[int]) -> bool:
        return all(cell[other] in levels for other, levels in self.levels.items())

    def label(self, factors: Sequence[Factor]) -> str:
        """``mixer=attention or mixer=lstm``, for each of the other factors."""
        return " and ".join(
            " or ".join(label_of([(other, level)], factors) for level in sorted(levels))
            for other, levels in self.levels.items()
        )


@dataclass(frozen=True)
class Exclusion:
    """A combination of levels whose cells are left out."""

    label: str
    levels: tuple[LevelOfFactor, ...]
    n_cells: int
    """Number of cells of the design that it matches."""
    reason: str | None = None


@dataclass(frozen=True)
class Override:
    """What cells with some levels set beside them."""

    levels: tuple[LevelOfFactor, ...]
    settings: tuple[Setting, ...]


def matches(levels: Sequence[LevelOfFactor], cell: Combination) -> bool:
    """Whether a cell has all of these levels."""
    return all(cell[factor] == level for factor, level in levels)


def label_of(levels: Sequence[LevelOfFactor], factors: Sequence[Factor]) -> str:
    """``norm=rms_norm position=alibi``."""
    return " ".join(f"{factors[factor].name}={factors[factor].level(level).label}" for factor, level in levels)


def make_conditions(document: Document, config: GridConfig, factors: Sequence[Factor]) -> tuple[Condition, ...]:
    """The conditions of ``when``, each after those it depends on. Errors: InputError."""
    conditions = {}
    by_path = {path: index for index, factor in enumerate(factors) for path in factor.parts}
    for path, needed in config.when.items():
        place = ("when", path)
        if path not in by_path:
            find(document, ("when",), {path: None}, factors)  # which says what is wrong
        levels: dict[int, frozenset[int]] = {}
        for other, written in needed.items():
            allowed = written if isinstance(written, list) else [written]
            found = [find(document, place, {other: level}, factors)[0] for level in allowed]
            levels[found[0][0]] = frozenset(level for _, level in found)
        conditions[by_path[path]] = Condition(by_path[path], levels)
    try:
        order = [*TopologicalSorter({index: [*each.levels] for index, each in conditions.items()}).static_order()]
    except CycleError as error:
        names = " <- ".join(factors[index].name for index in error.args[1])
        raise document.error(("when",), f"factors depend on each other in a circle: {names}") from None
    return tuple(conditions[index] for index in order if index in conditions)


def resolve(cell: Combination, conditions: Sequence[Condition]) -> Combination:
    """The cell without the levels of factors that do not exist in it."""
    resolved = list(cell)
    for condition in conditions:
        if not condition.holds(resolved):
            resolved[condition.factor] = INACTIVE
    return tuple(resolved)


def make_exclusions(
    document: Document, config: GridConfig, factors: Sequence[Factor], cells: Sequence[Combination]
) -> tuple[Exclusion, ...]:
    """The exclusions of a design with these cells; one that matches none is an error."""
    exclusions = []
    for number, written in enumerate(config.exclude):
        reason = written.get(REASON)
        levels = find(document, ("exclude", number), {k: v for k, v in written.items() if k != REASON}, factors)
        exclusion = Exclusion(label_of(levels, factors), levels, 0, None if reason is None else str(reason))
        if not levels:
            raise document.error(("exclude", number), "names no level")
        if matches(levels, cells[0]):
            raise document.error(("exclude", number), f"{exclusion.label} excludes the baseline")
        n_cells = sum(matches(levels, cell) for cell in cells)
        if not n_cells:
            what = f"no cell of the design {config.design.name!r} has {exclusion.label}"
            raise document.error(("exclude", number), what)
        exclusions.append(replace(exclusion, n_cells=n_cells))
    return tuple(exclusions)


def make_overrides(document: Document, config: GridConfig, factors: Sequence[Factor]) -> tuple[Override, ...]:
    """The overrides; what a factor varies is not for them to set. Errors: InputError."""
    varied = {path: factor for factor in factors for path in factor.paths}
    overrides = []
    for number, written in enumerate(config.overrides):
        for path in written.set:
            if path in varied:
                what = f"is varied by the factor {varied[path].name}; levels say what they set themselves"
                raise document.error(("overrides", number, "set", path), what)
        levels = find(document, ("overrides", number, "cells"), written.cells, factors)
        overrides.append(Override(levels, settings(written.set, ("overrides", number, "set"))))
    return tuple(overrides)


def listed(document: Document, config: GridConfig, factors: Sequence[Factor]) -> list[Combination]:
    """The cells of ``cells``, the baseline first. Errors: InputError."""
    baseline: Combination = (0,) * len(factors)
    cells: dict[Combination, Any] = {baseline: None}
    for number, written in enumerate(config.cells):
        levels = dict(find(document, ("cells", number), written, factors))
        cell = tuple(levels.get(index, 0) for index in range(len(factors)))
        if cell in cells:
            first = cells[cell]
            of = "the baseline, which is there anyway" if first is None else f"the same cell as number {first + 1}"
            raise document.error(("cells", number), f"is {of}")
        cells[cell] = number
    return list(cells)
