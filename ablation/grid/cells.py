"""Cells: the configuration of every cell, in which sections that several cells share are read and checked once.

A cell's levels replace values of the common configuration. What is inside one section of it, such as ``optimizer``,
depends on the factors of that section alone, so that ten thousand cells of a hundred models, optimizers and tasks are a
hundred of each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ..config.experiment import ExperimentConfig
from ..config.layered import LayeredConfig, load_section
from ..errors import InputError
from ..registry import Config
from .conditions import label_of, matches, resolve
from .design import Combination
from .factors import INACTIVE, Level, Setting
from .file import Grid

NOTHING: Mapping[str, Any] = {}
"""One for the cells that have nothing beside their levels."""


class CellConfigs:
    """The configuration of a cell, by the indices of its levels; equal sections are one object."""

    def __init__(self, grid: Grid, common: LayeredConfig):
        self.grid, self.common = grid, common
        self.config = common.build()
        self._baseline = resolve((0,) * len(grid.factors), grid.conditions)
        self._of_section: dict[str, list[int]] = {}
        """By section, the factors that it depends on."""
        depends = [(setting, [index]) for index, factor in enumerate(grid.factors)
                   for level in factor.levels for setting in level.settings]  # fmt: skip
        depends += [(setting, [index for index, _ in override.levels])
                    for override in grid.overrides for setting in override.settings]  # fmt: skip
        for setting, factors in depends:
            of_section = self._of_section.setdefault(_section_of(setting), [])
            of_section += [index for index in factors if index not in of_section]
        self._sections: dict[tuple[str, tuple[int, ...], tuple[tuple[str, str], ...]], Config] = {}
        self._chosen: dict[Combination, list[Setting]] = {}

    def choose(self, cell: Combination, values: Mapping[str, Any], key: str) -> None:
        """Set more in a cell, by path: what was matched or tuned, as the ``key`` of the grid file says."""
        chosen = {setting.path: setting for setting in self._chosen.get(cell, ())}
        chosen |= {path: Setting(path, value, (key,)) for path, value in values.items()}
        self._chosen[cell] = list(chosen.values())

    def resolve(self, cell: Combination) -> ExperimentConfig:
        """The configuration of a cell. Errors: InputError."""
        sections, chosen = {}, self._chosen.get(cell, [])
        for name in dict.fromkeys([*self._of_section, *map(_section_of, chosen)]) if chosen else self._of_section:
            of_levels = tuple([cell[factor] for factor in self._of_section.get(name, ())])
            key = name, of_levels, tuple([(s.path, repr(s.value)) for s in chosen if _section_of(s) == name])
            section = self._sections.get(key)
            if section is None:
                section = self._section(name, cell)
                if section is None:  # it is wrong, which the whole configuration says best, or no section
                    return self.layered(cell).build()
                self._sections[key] = section
            sections[name] = section
        return self.config.model_copy(update=sections)

    def layered(self, cell: Combination) -> LayeredConfig:
        """The values of a cell with their sources, for what is wrong in it. Errors: InputError."""
        layered, setting_of = self.common.copy(cell=self.label(cell)), dict[str, str]()
        for what, setting in sorted(self._settings(cell), key=lambda item: item[1].path.count(".")):
            if (other := setting_of.setdefault(setting.path, what)) != what:
                both = f"{other} and {what} both set {setting.path} (cell {self.label(cell)})"
                raise self.grid.document.at(
                    setting.place, f"{both}; `when` says under which levels of the other a factor exists"
                )
            layered.set(setting.path, setting.value, self.grid.document, setting.place)
        return layered

    def overridden(self, cell: Combination) -> Mapping[str, Any]:
        """The paths with values that a cell has beside its levels: of ``overrides``, and what was chosen for it."""
        of_grid = (s for each in self.grid.overrides if matches(each.levels, cell) for s in each.settings)
        settings = [*of_grid, *self._chosen.get(cell, ())]
        return {setting.path: setting.value for setting in settings} if settings else NOTHING

    def levels(self, cell: Combination) -> dict[str, Level]:
        """By the path of the factor."""
        return {factor.path: factor.level(index) for factor, index in zip(self.grid.factors, cell, strict=True)}

    def label(self, cell: Combination) -> str:
        """The levels in which a cell differs from the baseline, or of the baseline all its levels."""
        named = [(factor, level) for factor, level in enumerate(cell) if level != INACTIVE]
        changed = [(factor, level) for factor, level in named if level != self._baseline[factor]]
        return label_of(named if cell == self._baseline else changed, self.grid.factors)

    def _settings(self, cell: Combination) -> Iterator[tuple[str, Setting]]:
        """What a cell sets, each with the level that does."""
        for index, level in enumerate(cell):
            for setting in self.grid.factors[index].level(level).settings:
                yield label_of([(index, level)], self.grid.factors), setting
        for override in self.grid.overrides:
            if matches(override.levels, cell):
                for setting in override.settings:
                    yield f"the override of {label_of(override.levels, self.grid.factors)}", setting
        for setting in self._chosen.get(cell, ()):
            yield f"`{setting.place[0]}`", setting

    def _section(self, name: str, cell: Combination) -> Config | None:
        if name not in ExperimentConfig.model_fields:
            return None
        try:
            return load_section(name, self.layered(cell).value[name])
        except (InputError, ValidationError):
            return None


def _section_of(setting: Setting) -> str:
    return setting.path.partition(".")[0]
