"""The guard: between a cell and the baseline only what the cell's levels say differs.

A component that takes the place of another one has defaults of its own: an optimizer another weight decay, a norm
another epsilon. What both have and no level names would differ without anybody having said so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.validation_error import format_value
from ..registry import Config
from .factors import describe

if TYPE_CHECKING:
    from .file import Grid
    from .plan import Cell

_REPLICATE = ("seed", "start_from", "tracking")
"""Sections that are no part of what is compared."""


@dataclass(frozen=True)
class Change:
    """A value that differs from the baseline's."""

    path: str
    before: Any
    after: Any
    declared: bool
    """Whether a level, or an override, names it."""

    def __str__(self) -> str:
        return f"{self.path} {describe(self.before)} -> {describe(self.after)}"


class Changes:
    """What differs between cells and their baseline; sections that cells have in common are compared once."""

    def __init__(self, baseline: "Cell"):
        self.baseline, self._named = baseline, {*_named(baseline.settings)}
        self._of_sections: dict[tuple[int, int], tuple[Any, dict[str, tuple[Any, Any]]]] = {}

    def of(self, cell: "Cell") -> list[Change]:
        """In the order of the configuration. What only one of two components has is declared with the component."""
        named = self._named | {*_named(cell.settings)}
        return [Change(path, before, after, path in named) for path, (before, after) in self._differences(cell).items()]

    def _differences(self, cell: "Cell") -> dict[str, tuple[Any, Any]]:
        one, other = self.baseline.runs[0].config, cell.runs[0].config
        found: dict[str, tuple[Any, Any]] = {}
        for section in type(one).model_fields:
            before, after = getattr(one, section), getattr(other, section)
            if section in _REPLICATE or before is after:
                continue
            key = id(before), id(after)
            if not isinstance(before, Config):
                found |= {} if before == after else {section: (before, after)}
            else:
                if key not in self._of_sections:  # kept with the objects, so that no other ones get their ids
                    self._of_sections[key] = (before, after), _compare(section, before, after)
                found |= self._of_sections[key][1]
        return found


def beside_levels(grid: "Grid", cells: "Sequence[Cell]") -> list[tuple[Change, ...]]:
    """For each cell what differs beside its levels: its overrides, and what `allow` names though no level does.

    Errors: InputError for the first change that is neither.
    """
    changes, found = Changes(cells[0]), []
    for cell in cells:
        beside = []
        for change in changes.of(cell):
            if not change.declared and change.path not in grid.config.allow:
                raise _error(grid, cells[0], cell, change)
            if not change.declared or change.path in cell.overrides:
                beside.append(change)
        found.append(tuple(beside))
    return found


def _error(grid: "Grid", baseline: "Cell", cell: "Cell", change: Change) -> Exception:
    changed = [factor for factor in grid.factors if cell.levels[factor.path] is not baseline.levels[factor.path]]
    setting = next(
        (setting for factor in changed for side in (cell, baseline) for setting in side.levels[factor.path].settings
         if change.path.startswith(f"{setting.path}.")),
        None,
    )  # fmt: skip
    what = (
        f"{cell.label} also changes {change.path} from {format_value(change.before)} to {format_value(change.after)}, "
        f"which no level names; name it in the level, or mark it by `allow: [{change.path}]`"
    )
    return grid.document.error(("factors",), what) if setting is None else grid.document.at(setting.place, what)


def _compare(path: str, before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """The values of both that differ, by path; where one is of another kind, or absent, the name alone differs."""
    one, other = (dict(_values(side.model_dump(mode="json"), path)) for side in (before, after))
    return {key: (one[key], other[key]) for key in one if key in other and one[key] != other[key]}


def _values(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, f"{path}.{key}")
    else:
        yield path, value


def _named(settings: Mapping[str, Any]) -> Iterator[str]:
    """The paths of values that settings name: a component by its name alone names just that."""
    for path, value in settings.items():
        yield path
        yield f"{path}.name"
        if isinstance(value, Mapping):
            yield from (named for named, _ in _values(value, path))
            yield from _shorthands(value, path)


def _shorthands(value: Mapping[str, Any], path: str) -> Iterator[str]:
    """A component inside a component may be written by its name."""
    for key, item in value.items():
        yield f"{path}.{key}.name"
        if isinstance(item, Mapping):
            yield from _shorthands(item, f"{path}.{key}")
