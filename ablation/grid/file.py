"""grid.yaml: the study, as its author wrote it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from ..config.validation_error import shown, validation_error
from ..errors import nearest
from ..registry import ComponentConfig, Config, Slot, component, expand_shorthand
from ..yaml import Document, read
from .design import Combination, Design
from .schema import ClaimConfig

LARGEST_GRID = 100_000
"""Runs; a larger grid is a slip."""

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

RESERVED = ("store", "wandb")
"""Names of folders that stand beside those of the grids."""

_MUST = {
    "name": "must be 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit",
    "seeds": "must be a number of replicates, at least 1, or a list of different whole numbers, at least 0",
}


class GridConfig(Config):
    """The keys of a grid file."""

    name: Name
    base: str = "../base.yaml"
    """The baseline's file, relative to this one."""
    set: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    """Paths and values for every cell."""
    factors: Annotated[dict[str, list[Any]], Field(min_length=1)]
    """Paths, and the levels that each takes."""
    baseline: dict[str, Any] = {}  # noqa: RUF012
    """The baseline's levels; what is not named: the first."""
    design: Annotated[ComponentConfig[Design], Slot("design")] = component("design", "factorial")
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = []  # noqa: RUF012
    """Levels by their paths; a cell that has all of one of these mappings is left out."""
    seeds: PositiveInt | Annotated[list[NonNegativeInt], Field(min_length=1)] = 5
    """How many replicates, or which seeds."""
    metric: str | None = None
    """The measure that verdicts on quality rest on, such as loss@4x; null: the task's own."""
    margins: dict[str, Annotated[float, Field(ge=0)]] = {}  # noqa: RUF012
    """By measure, the smallest difference that matters; what is not named has the margin that `ablate table` shows."""
    interim_looks: Annotated[list[Annotated[int, Field(ge=3)]], Field(min_length=1)] | None = None
    """Numbers of seeds at which verdicts are looked at while `ablate run --until-decided` adds more, as [5, 8, 12]."""
    claim: ClaimConfig | None = None
    """What `ablate claim` tests on it."""


@dataclass(frozen=True)
class Level:
    """One value of a factor."""

    value: Any
    label: str
    place: tuple[str | int, ...]
    """Where it stands in the grid file."""

    @property
    def plain(self) -> str | int | float | bool | None:
        """The value where it is a scalar, else its label."""
        return self.value if self.value is None or isinstance(self.value, str | int | float) else self.label


@dataclass(frozen=True)
class Factor:
    """A path of the configuration that varies; the baseline's level first."""

    path: str
    name: str
    """The end of the path, as long as it must be to be told from the others."""
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Exclusion:
    """Levels whose cells are left out, by the places of their factors and their own."""

    label: str
    levels: tuple[tuple[int, int], ...]
    n_cells: int
    """How many cells of the design it matches."""

    def matches(self, combination: Combination) -> bool:
        return all(combination[factor] == level for factor, level in self.levels)


@dataclass(frozen=True)
class Grid:
    """A grid file, checked as far as it can be without the configuration it varies."""

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
        """Counted, not listed, where none is left out."""
        return len(self.combinations()) if self.exclusions else count_cells(self.config)

    def combinations(self) -> list[Combination]:
        """The cells, the baseline first, without those that are left out."""
        every = self.design.combinations([len(factor.levels) for factor in self.factors])
        return [cell for cell in every if not any(exclusion.matches(cell) for exclusion in self.exclusions)]

    def refuse_fixed(self, path: str) -> str | None:
        """Why ``path`` cannot be set for every cell, if it cannot."""
        for factor in self.config.factors:
            if path == factor:
                return "is a factor as well; take it out of one of them"
            if path.startswith(f"{factor}."):
                return f"lies inside the factor {factor}, whose levels replace it; say it in the levels"
        return None


def read_grid(file: Path) -> Grid:
    """Errors: InputError, one line naming file, line, key, what is allowed and the nearest match."""
    document = read(file)
    spelled = expand_shorthand(GridConfig, document.value)
    try:
        config = GridConfig.model_validate_json(json.dumps(spelled))
    except ValidationError as error:
        place, what = validation_error(error, spelled, GridConfig)
        key = str(place[0])
        if key in _MUST and key in spelled:
            place, what = (key,), _MUST[key]
            what += "" if isinstance(spelled[key], list) else f", not {shown(spelled[key])}"
        raise document.error(place, what) from None
    if config.name.casefold() in RESERVED:
        raise document.error(("name",), f"{config.name!r} is kept for the runs themselves; name the grid otherwise")
    if isinstance(config.seeds, list) and len(set(config.seeds)) < len(config.seeds):
        raise document.error(("seeds",), "a seed is there twice")
    if config.interim_looks is not None and any(after <= before for before, after in pairwise(config.interim_looks)):
        raise document.error(("interim_looks",), "must grow from one to the next, as in [5, 8, 12]")
    most = config.design.build().most_levels
    for path, levels in config.factors.items():
        if most is not None and len(levels) > most:
            what = f"has {len(levels)} levels; the design {config.design.name!r} takes at most {most} of each factor"
            raise document.error(("factors", path), what)
    n_cells = count_cells(config)
    if n_cells > LARGEST_GRID:
        raise document.error(("factors",), f"{n_cells:,} cells; at most {LARGEST_GRID:,} runs are allowed")
    factors = _factors(document, config)
    grid = Grid(document, config, factors, _exclusions(document, config, factors))
    for path in config.set:
        if reason := grid.refuse_fixed(path):
            raise document.error(("set", path), reason)
    return grid


def count_cells(config: GridConfig) -> int:
    """How many cells the design makes of the factors."""
    n_cells: int = config.design.build().count([len(levels) for levels in config.factors.values()])
    return n_cells


def _factors(document: Document, config: GridConfig) -> tuple[Factor, ...]:
    paths = list(config.factors)
    if "seed" in paths:
        raise document.error(("factors", "seed"), "seeds are replicates, not levels; list them under `seeds`")
    for path in config.baseline:
        _refuse_unknown(document, ("baseline", path), paths)
    names = short_names(paths)
    return tuple(Factor(path, names[path], _levels(document, config, path)) for path in paths)


def _exclusions(document: Document, config: GridConfig, factors: Sequence[Factor]) -> tuple[Exclusion, ...]:
    """Against the design's cells, so that one that matches none is known for a slip."""
    if not config.exclude:
        return ()
    paths = [factor.path for factor in factors]
    cells = Grid(document, config, tuple(factors)).combinations()
    found = []
    for number, wanted in enumerate(config.exclude):
        chosen = []
        for path, level in wanted.items():
            place = ("exclude", number, path)
            _refuse_unknown(document, place, paths)
            levels = factors[paths.index(path)].levels
            chosen.append((paths.index(path), levels.index(_find(document, place, levels, level))))
        label = " ".join(f"{factors[factor].name}={factors[factor].levels[level].label}" for factor, level in chosen)
        exclusion = Exclusion(label, tuple(chosen), 0)
        if exclusion.matches(cells[0]):
            raise document.error(("exclude", number), f"{label} leaves out the baseline")
        n_cells = sum(map(exclusion.matches, cells))
        if not n_cells:
            what = f"no cell of the design {config.design.name!r} has {label}"
            raise document.error(("exclude", number), what)
        found.append(replace(exclusion, n_cells=n_cells))
    return tuple(found)


def _refuse_unknown(document: Document, place: tuple[str | int, ...], paths: Sequence[str]) -> None:
    path = str(place[-1])
    if path not in paths:
        raise document.error(place, f"is not a factor; factors: {', '.join(paths)}{nearest(path, paths)}")


def _find(document: Document, place: tuple[str | int, ...], levels: Sequence[Level], wanted: Any) -> Level:
    """The level of that value or label."""
    for level in levels:
        if _comparable(level.value) == _comparable(wanted):
            return level
    for level in levels:
        if level.label == wanted:
            return level
    labels = [level.label for level in levels]
    hint = nearest(wanted, labels) if isinstance(wanted, str) else ""
    raise document.error(place, f"{shown(wanted)} is not a level; levels: {', '.join(labels)}{hint}")


def _levels(document: Document, config: GridConfig, path: str) -> tuple[Level, ...]:
    written = config.factors[path]
    if not written:
        raise document.error(("factors", path), "has no levels; write a list such as [a, b]")
    levels = [_level(document, value, ("factors", path, index)) for index, value in enumerate(written)]
    values: set[Any] = set()
    labels: set[str] = set()
    for level in levels:
        if _comparable(level.value) in values:
            raise document.error(level.place, f"the level {level.label} is there twice")
        if level.label in labels:
            raise document.error(level.place, f"two levels are called {level.label!r}; give one a label")
        values.add(_comparable(level.value))
        labels.add(level.label)
    if path in config.baseline:
        chosen = _find(document, ("baseline", path), levels, config.baseline[path])
        levels.sort(key=lambda level: level is not chosen)
    return tuple(levels)


def _level(document: Document, written: Any, place: tuple[str | int, ...]) -> Level:
    """A component may carry a label among its hyper-parameters; ``{value: 4, label: four}`` labels anything else."""
    if not isinstance(written, dict) or "label" not in written:
        return Level(written, describe(written), place)
    label = written["label"]
    text = str(label)
    if isinstance(label, bool | dict | list | None) or not text.strip() or len(text) > 80 or not text.isprintable():
        raise document.error((*place, "label"), f"must be a text of 1 to 80 printable characters, not {shown(label)}")
    value = {key: part for key, part in written.items() if key != "label"}
    if "name" in value:
        return Level(value, text, place)
    if list(value) != ["value"]:
        raise document.error(place, "a level with a label is {name: ..., label: ...} or {value: ..., label: ...}")
    return Level(value["value"], text, (*place, "value"))


def describe(value: Any) -> str:
    """A level in few characters: ``rope(theta=500000)``."""
    if isinstance(value, dict):
        rest = ", ".join(f"{key}={describe(part)}" for key, part in value.items() if key != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", "{}"))
    if isinstance(value, list):
        return "[" + ", ".join(map(describe, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def short_names(paths: list[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that tell them apart."""
    names = {}
    for path in paths:
        keys = path.split(".")
        ends = (".".join(keys[-n:]) for n in range(1, len(keys) + 1))
        names[path] = next(
            (end for end in ends if sum(other == end or other.endswith("." + end) for other in paths) == 1), path
        )
    return names


def _comparable(value: Any) -> Any:
    """Equal for values that mean the same: 1 and 1.0, but not 1 and true."""
    if isinstance(value, dict):
        return frozenset((key, _comparable(part)) for key, part in value.items())
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return (isinstance(value, bool), value)
