"""Reading grid.yaml, with all checks that do not need the baseline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from ..config.validation_error import format_value, validation_error
from ..names import reason_no_folder
from ..registry import expand_shorthand
from ..yaml import Document, read
from .design import Combination, Design
from .factors import Factor, find_level, make_factors, refuse_unknown
from .schema import REQUIREMENTS, GridConfig

LARGEST_GRID = 100_000
"""The most runs of a grid; more are assumed to be a mistake."""


@dataclass(frozen=True)
class Exclusion:
    """A combination of levels whose cells are left out."""

    label: str
    levels: tuple[tuple[int, int], ...]
    """Pairs of the index of a factor and the index of its level."""
    n_cells: int
    """Number of cells of the design that it matches."""

    def matches(self, combination: Combination) -> bool:
        return all(combination[factor] == level for factor, level in self.levels)


@dataclass(frozen=True)
class Grid:
    """A grid file, checked as far as possible without its baseline."""

    document: Document
    config: GridConfig
    factors: tuple[Factor, ...]
    exclusions: tuple[Exclusion, ...] = ()

    @property
    def base(self) -> Path:
        return Path(self.document.file).parent / self.config.base

    @property
    def design(self) -> Design:
        design: Design = self.config.design.build()
        return design

    @property
    def n_cells(self) -> int:
        """Number of cells; computed without listing them if none is excluded."""
        return len(self.combinations()) if self.exclusions else count_cells(self.config)

    def combinations(self) -> list[Combination]:
        """The cells without excluded ones, the baseline first."""
        combinations = self.design.combinations([len(factor.levels) for factor in self.factors])
        return [cell for cell in combinations if not any(exclusion.matches(cell) for exclusion in self.exclusions)]

    def conflict_with_factors(self, path: str) -> str | None:
        """The reason why ``path`` cannot have one value in every cell; None if it can."""
        for factor in self.config.factors:
            if path == factor:
                return "is also a factor; remove one of the two"
            if path.startswith(f"{factor}."):
                return f"is inside the factor {factor}, whose levels replace it; set it in the levels"
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
    grid = Grid(document, config, factors, _exclusions(document, config, factors))
    for fixed in config.set:
        if conflict := grid.conflict_with_factors(fixed):
            raise document.error(("set", fixed), conflict)
    return grid


def _check(document: Document, config: GridConfig) -> None:
    """The checks of single keys that the schema cannot express."""
    if what := reason_no_folder(config.name):
        raise document.error(("name",), what)
    if isinstance(config.seeds, list) and len(set(config.seeds)) < len(config.seeds):
        raise document.error(("seeds",), "a seed appears twice")
    if config.interim_looks is not None and any(after <= before for before, after in pairwise(config.interim_looks)):
        raise document.error(("interim_looks",), "must be in ascending order, such as [5, 8, 12]")
    max_levels = config.design.build().max_levels
    for path, levels in config.factors.items():
        if max_levels is not None and len(levels) > max_levels:
            what = f"has {len(levels)} levels; the design {config.design.name!r} allows at most {max_levels} per factor"
            raise document.error(("factors", path), what)
    n_cells = count_cells(config)
    if n_cells > LARGEST_GRID:
        raise document.error(("factors",), f"{n_cells:,} cells; at most {LARGEST_GRID:,} runs are allowed")


def count_cells(config: GridConfig) -> int:
    """Number of cells that the design makes of the factors, before exclusions."""
    n_cells: int = config.design.build().count([len(levels) for levels in config.factors.values()])
    return n_cells


def _exclusions(document: Document, config: GridConfig, factors: Sequence[Factor]) -> tuple[Exclusion, ...]:
    """The exclusions; one that matches no cell of the design is an error."""
    if not config.exclude:
        return ()
    paths = [factor.path for factor in factors]
    cells = Grid(document, config, tuple(factors)).combinations()
    exclusions = []
    for number, excluded in enumerate(config.exclude):
        chosen = []
        for path, written in excluded.items():
            document_path = ("exclude", number, path)
            refuse_unknown(document, document_path, paths)
            levels = factors[paths.index(path)].levels
            chosen.append((paths.index(path), levels.index(find_level(document, document_path, levels, written))))
        label = " ".join(f"{factors[factor].name}={factors[factor].levels[level].label}" for factor, level in chosen)
        exclusion = Exclusion(label, tuple(chosen), 0)
        if exclusion.matches(cells[0]):
            raise document.error(("exclude", number), f"{label} excludes the baseline")
        n_cells = sum(map(exclusion.matches, cells))
        if not n_cells:
            raise document.error(("exclude", number), f"no cell of the design {config.design.name!r} has {label}")
        exclusions.append(replace(exclusion, n_cells=n_cells))
    return tuple(exclusions)
