"""grid.yaml: the study, as its author wrote it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from ..errors import InputError, nearest
from ..registry import REGISTRY, ComponentConfig, Config, Slot, spell_out
from ..strict_yaml import Document, read
from . import design  # noqa: F401  fills the slot

LARGEST_GRID = 100_000
"""Cells; a larger grid is a slip."""

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class GridConfig(Config):
    """The keys of a grid file."""

    name: Name
    base: str = "../base.yaml"
    """The baseline's file, relative to this one."""
    set: dict[str, Any] = {}
    """Paths and values for every cell."""
    factors: Annotated[dict[str, list[Any]], Field(min_length=1)]
    """Paths, and the levels that each takes."""
    baseline: dict[str, Any] = {}
    """The baseline's levels; what is not named: the first."""
    design: Annotated[ComponentConfig, Slot("design")] = REGISTRY["design"]["factorial"](name="factorial")
    seeds: PositiveInt | Annotated[list[NonNegativeInt], Field(min_length=1)] = 5
    """How many replicates, or which seeds."""


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
class Grid:
    """A grid file, checked as far as it can be without the configuration it varies."""

    document: Document
    config: GridConfig
    factors: tuple[Factor, ...]

    @property
    def base(self) -> Path:
        return Path(self.document.file).parent / self.config.base


def read_grid(file: Path) -> Grid:
    """Errors: InputError, one line naming file, line, key, what is allowed and the nearest match."""
    document = read(file)
    try:
        config = GridConfig.model_validate_json(json.dumps(spell_out(GridConfig, document.value)))
    except ValidationError as error:
        raise _complaint(document, error) from None
    factors = _factors(document, config)
    n_cells = config.design.build().count([len(factor.levels) for factor in factors])
    if n_cells > LARGEST_GRID:
        raise document.error(("factors",), f"{n_cells} cells; at most {LARGEST_GRID} are allowed")
    return Grid(document, config, factors)


def _complaint(document: Document, error: ValidationError) -> InputError:
    first = error.errors()[0]
    place, allowed = first["loc"], list(GridConfig.model_fields)
    key = str(place[0]) if place else ""
    if first["type"] == "extra_forbidden":
        return document.error(place, f"unknown key {key!r}; allowed: {', '.join(allowed)}{nearest(key, allowed)}")
    if first["type"] == "missing":
        return document.error((), f"{key} is missing")
    if key == "seeds":
        return document.error(
            (key,), f"{document.value[key]!r} must be a number of replicates, at least 1, or a list of seeds"
        )
    if key == "design":
        members = list(REGISTRY["design"])
        given = document.value[key]
        word = given.get("name") if isinstance(given, dict) else given
        return document.error(
            (key,), f"{word!r} is not a design; allowed: {', '.join(members)}{nearest(str(word), members)}"
        )
    what = first["msg"].removeprefix("Input ").replace("should", "must")
    if key == "name":
        what = "must be 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit"
    return document.error(place, f"{first['input']!r} {what}")


def _factors(document: Document, config: GridConfig) -> tuple[Factor, ...]:
    paths = list(config.factors)
    for path in config.set:
        if path in config.factors:
            raise document.error(("set", path), "is a factor as well; take it out of one of them")
    for path in config.baseline:
        if path not in config.factors:
            raise document.error(
                ("baseline", path), f"is not a factor; factors: {', '.join(paths)}{nearest(path, paths)}"
            )
    names = short_names(paths)
    return tuple(Factor(path, names[path], _levels(document, config, path)) for path in paths)


def _levels(document: Document, config: GridConfig, path: str) -> tuple[Level, ...]:
    written = config.factors[path]
    if not written:
        raise document.error(("factors", path), "has no levels; write a list such as [a, b]")
    levels = [_level(value, ("factors", path, index)) for index, value in enumerate(written)]
    for index, level in enumerate(levels):
        for earlier in levels[:index]:
            if _same(level.value, earlier.value):
                raise document.error(level.place, f"level {level.label} is there twice")
            if level.label == earlier.label:
                raise document.error(level.place, f"two levels are called {level.label!r}; give one a label")
    if path in config.baseline:
        wanted = config.baseline[path]
        chosen = [level for level in levels if _same(level.value, wanted) or level.label == wanted]
        if not chosen:
            labels = [level.label for level in levels]
            what = f"{wanted!r} is not a level; levels: {', '.join(labels)}{nearest(str(wanted), labels)}"
            raise document.error(("baseline", path), what)
        levels.sort(key=lambda level: level is not chosen[0])
    return tuple(levels)


def _level(written: Any, place: tuple[str | int, ...]) -> Level:
    """A level that is a mapping may carry a label; ``{value: 4, label: four}`` labels any other."""
    value, label = written, None
    if isinstance(written, dict) and "label" in written:
        rest = {key: part for key, part in written.items() if key != "label"}
        value, label = (rest["value"] if set(rest) == {"value"} else rest), str(written["label"])
    return Level(value, label or describe(value), place)


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


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
