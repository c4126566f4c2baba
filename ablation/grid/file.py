"""Reading grid.yaml, with all checks that do not need the baseline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod
from pathlib import Path

from pydantic import ValidationError

from ..config.bundled import BASELINES, find
from ..config.validation_error import format_value, validation_error
from ..errors import InputError
from ..names import reason_no_folder
from ..registry import expand_shorthand
from ..yaml import Document, read
from .conditions import (
    Condition,
    Exclusion,
    Override,
    listed,
    make_conditions,
    make_exclusions,
    make_overrides,
    matches,
    resolve,
)
from .design import Combination, Design
from .factors import Factor, beside_matched, describe, make_factors
from .schema import REQUIREMENTS, GridConfig
from .search import TriedInCells
from .title import first_question
from .tried import TimesConfig, can_extend, range_of, values_tried

LARGEST_GRID = 100_000
"""The most runs of a grid; more are assumed to be a mistake."""


@dataclass(frozen=True)
class Grid:
    """A grid file, checked as far as possible without its baseline."""

    document: Document
    config: GridConfig
    factors: tuple[Factor, ...]
    conditions: tuple[Condition, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    overrides: tuple[Override, ...] = ()
    n_crossed: int = 0
    """How many of the last factors are no part of the design: each of its cells is there with all their levels."""
    tried: TriedInCells | None = None
    """What the cells of a tuning study try; None in any other."""
    base_read: Document | None = None
    """The baseline as it was when the grid was read, which is planned more than once; None: it cannot be read."""

    @property
    def base(self) -> Path:
        """The file of the baseline. Errors: InputError where none is named, or its name is not known."""
        try:
            file = find(Path(self.config.base), BASELINES, relative_to=Path(self.document.file).parent)
        except InputError as error:
            raise self.document.error(("base",), str(error)) from None
        if "base" not in self.document.value and not file.is_file():
            what = f"is missing, and there is no {self.config.base}; name a file, or a model such as gpt2"
            raise self.document.error(("base",), what)
        return file

    @property
    def question(self) -> str | None:
        """What the study asks, as the file says or its first comment."""
        if self.config.question is not None:
            return self.config.question
        return first_question(self.document.content)

    @property
    def design(self) -> Design:
        design: Design = self.config.design.build()
        return design

    @property
    def n_seeds_of_others(self) -> int | None:
        """The seeds of every cell but the baseline; None: as many as the baseline has."""
        return None if self.config.cells or self.tried else self.design.n_seeds

    @property
    def uncrossed(self) -> str | None:
        """Why effects cannot be averaged over the levels of other factors; None: they can."""
        if self.config.cells:
            return "its cells are listed one by one"
        if self.n_crossed and not self.tried and self.config.match is not None and self.config.match.as_is:
            return "cells stand as they are and matched"
        if self.conditions:
            names = " and ".join(self.factors[condition.factor].name for condition in self.conditions)
            return f"{names} exist{'s' if len(self.conditions) == 1 else ''} under some levels only"
        return self.design.uncrossed

    @property
    def n_cells(self) -> int:
        """Number of cells; computed without listing them where every cell of the design is one."""
        plain = not (self.exclusions or self.conditions or self.config.cells)
        crossed = prod(len(factor.levels) for factor in self._crossed)
        return self.design.count(self._n_levels) * crossed if plain else len(self.combinations())

    def combinations(self) -> list[Combination]:
        """The cells without excluded ones, the baseline first."""
        allowed = [
            cell
            for cell in self.designed()
            if not any(matches(exclusion.levels, cell) for exclusion in self.exclusions)
        ]
        chosen = allowed if self.config.cells else self.design.choose(allowed)
        levels = [range(len(factor.levels)) for factor in self._crossed]
        return [(*cell, *crossed) for cell in chosen for crossed in product(*levels)]

    def designed(self) -> list[Combination]:
        """The cells of the design, excluded ones among them; those that differ in inactive factors alone are one."""
        if self.config.cells:
            cells = listed(self.document, self.config, self.designed_factors)
        else:
            cells = self.design.combinations(self._n_levels)
        return list(dict.fromkeys(resolve(cell, self.conditions) for cell in cells)) if self.conditions else cells

    @property
    def designed_factors(self) -> tuple[Factor, ...]:
        return self.factors[: len(self.factors) - self.n_crossed]

    @property
    def _crossed(self) -> tuple[Factor, ...]:
        return self.factors[len(self.factors) - self.n_crossed :]

    @property
    def _n_levels(self) -> list[int]:
        return [len(factor.levels) for factor in self.designed_factors]

    def conflict_with_factors(self, path: str) -> str | None:
        """The reason why ``path`` cannot have one value in every cell; None if it can."""
        for factor in self.factors:
            for varied in factor.paths:
                if not all(any(s.path == varied for s in level.settings) for level in factor.levels):
                    continue  # the value of the other levels
                if path == varied:
                    same = varied == factor.path
                    return (
                        f"is also {'a factor' if same else f'set by the factor {factor.name}'}; remove one of the two"
                    )
                if path.startswith(f"{varied}."):
                    return f"is inside the factor {varied}, whose levels replace it; set it in the levels"
        for override in self.overrides:
            if any(path == setting.path for setting in override.settings):
                return "is also set in `overrides`, from which it takes its place; remove one of the two"
        return None


def read_grid(file: Path) -> Grid:
    """The grid in ``file``.

    Errors: InputError, one line with file, line, key, what is allowed and the nearest match.
    """
    document = read(file)
    value = expand_shorthand(GridConfig, document.value)
    try:
        config = GridConfig.model_validate_json(json.dumps(value))
    except ValidationError as error:
        path, what = validation_error(error, value, GridConfig)
        key = str(path[0])
        if key in REQUIREMENTS and key in value:
            path, what = (key,), REQUIREMENTS[key]
            what += "" if isinstance(value[key], list) else f", not {format_value(value[key])}"
        raise document.error(path, what) from None
    _check(document, config)
    factors = make_factors(document, config)
    _check_size(document, config, factors)
    _check_tune(document, config, factors)
    crossed = beside_matched(document, config, factors)
    grid = Grid(
        document,
        config,
        (*factors, *crossed),
        make_conditions(document, config, factors),
        overrides=make_overrides(document, config, factors),
        n_crossed=len(crossed),
    )
    if config.exclude:
        grid = replace(grid, exclusions=make_exclusions(document, config, factors, grid.designed()))
    for fixed in config.set:
        if conflict := grid.conflict_with_factors(fixed):
            raise document.error(("set", fixed), conflict)
    return replace(grid, base_read=_read_base(grid))


def _read_base(grid: Grid) -> Document | None:
    try:
        return read(grid.base)
    except InputError:  # which planning says
        return None


def _check(document: Document, config: GridConfig) -> None:
    """The checks of single keys that the schema cannot express."""
    if what := reason_no_folder(config.name):
        raise document.error(("name",), what)
    if isinstance(config.seeds, list) and len(set(config.seeds)) < len(config.seeds):
        raise document.error(("seeds",), "a seed appears twice")
    if config.interim_looks is not None and any(after <= before for before, after in pairwise(config.interim_looks)):
        raise document.error(("interim_looks",), "must be in ascending order, such as [5, 8, 12]")
    if config.cells and "design" in document.value:
        raise document.error(("cells",), f"takes the place of a design; remove `design: {config.design.name}`")


def _check_size(document: Document, config: GridConfig, factors: Sequence[Factor]) -> None:
    """That the design can have these factors, and has not too many cells, of which none has been made so far."""
    design: Design = config.design.build()
    for factor in factors:
        if not config.cells and design.max_levels is not None and len(factor.levels) > design.max_levels:
            what = (
                f"has {len(factor.levels)} levels; the design {config.design.name!r} allows at most "
                f"{design.max_levels} per factor"
            )
            raise document.error(("factors", next(iter(factor.parts))), what)
    n_levels = [len(factor.levels) for factor in factors]
    if not config.cells and (impossible := design.reason_impossible(n_levels)) is not None:
        raise document.error(("design",), impossible)
    n_cells = len(config.cells) or design.count(n_levels)
    if n_cells > LARGEST_GRID:
        raise document.error(("factors",), f"{n_cells:,} cells; at most {LARGEST_GRID:,} runs are allowed")


def _check_tune(document: Document, config: GridConfig, factors: Sequence[Factor]) -> None:
    """That the settings can be tuned."""
    if config.tune is None:
        return
    if config.claim is not None:
        raise document.error(("tune",), "a claim states its own `search`; remove one of the two")
    every = config.tune.search.build().every_combination
    if config.tune.extend and not every:
        raise document.error(("tune", "extend"), f"is for the search `grid`, not for {config.tune.search.name}")
    for path, tried in config.tune.settings.items():
        place = ("tune", "settings", path)
        within = range_of(tried)
        if within is not None and within.low >= within.high:
            raise document.error(place, "low must be below high")
        if every and within is not None and within.n is None:
            raise document.error(place, "needs `n`, how many values are taken; or a `search`, such as random")
        labels = [describe(value) for value in values_tried(tried)]
        if twice := next((label for index, label in enumerate(labels) if label in labels[:index]), None):
            raise document.error(place, f"the value {twice} appears twice")
        if config.tune.extend and not can_extend(tried):
            raise document.error(place, "`extend` needs positive numbers in order, to find the next one")
        for factor in factors:
            if path in factor.paths:
                raise document.error(place, f"is varied by the factor {factor.name}; remove one of the two")
        if path in config.set and not isinstance(tried, TimesConfig):
            raise document.error(place, "is also fixed in `set`; remove one of the two")
