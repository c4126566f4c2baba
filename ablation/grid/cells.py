"""Cells: the configuration of every cell, in which sections that several cells share are read and checked once.

A cell's levels replace values of the common configuration. What is inside one section of it, such as ``optimizer``,
depends on the factors of that section alone, so that ten thousand cells of a hundred models, optimizers and tasks are a
hundred of each.
"""

from collections.abc import Sequence

from pydantic import ValidationError

from ..config.experiment import ExperimentConfig
from ..config.layered import LayeredConfig, load_section
from ..errors import InputError
from ..registry import Config
from .design import Combination
from .factors import Factor, Level
from .file import Grid


class CellConfigs:
    """The configuration of a cell, by the indices of its levels; equal sections are one object."""

    def __init__(self, grid: Grid, common: LayeredConfig):
        self.grid, self.common = grid, common
        self.config = common.build()
        by_depth = sorted(range(len(grid.factors)), key=lambda index: grid.factors[index].path.count("."))
        self._ordered = tuple(by_depth)
        self._of_section: dict[str, list[int]] = {}
        for index in by_depth:
            self._of_section.setdefault(grid.factors[index].path.partition(".")[0], []).append(index)
        self._sections: dict[tuple[str, tuple[int, ...]], Config] = {}

    def resolve(self, cell: Combination) -> ExperimentConfig:
        """The configuration of a cell. Errors: InputError."""
        sections = {}
        for name, factors in self._of_section.items():
            key = name, tuple([cell[factor] for factor in factors])
            section = self._sections.get(key)
            if section is None:
                section = self._section(name, factors, cell)
                if section is None:  # it is wrong, which the whole configuration says best, or no section
                    return self.layered(cell).build()
                self._sections[key] = section
            sections[name] = section
        return self.config.model_copy(update=sections)

    def layered(self, cell: Combination) -> LayeredConfig:
        """The values of a cell with their sources, for what is wrong in it. Errors: InputError."""
        return self._set(self.common.copy(cell=self.label(cell)), self._ordered, cell)

    def levels(self, cell: Combination) -> dict[str, Level]:
        """By the path of the factor."""
        return {factor.path: factor.levels[index] for factor, index in zip(self.grid.factors, cell, strict=True)}

    def label(self, cell: Combination) -> str:
        """The levels in which a cell differs from the baseline, or of the baseline all its levels."""
        levels = [_level(factor, index) for factor, index in zip(self.grid.factors, cell, strict=True) if index]
        return " ".join(levels or [_level(factor, 0) for factor in self.grid.factors])

    def _section(self, name: str, factors: Sequence[int], cell: Combination) -> Config | None:
        if name not in ExperimentConfig.model_fields:
            return None
        try:
            return load_section(name, self._set(self.common.copy(), factors, cell).value[name])
        except (InputError, ValidationError):
            return None

    def _set(self, layered: LayeredConfig, factors: Sequence[int], cell: Combination) -> LayeredConfig:
        for index in factors:
            factor = self.grid.factors[index]
            level = factor.levels[cell[index]]
            layered.set(factor.path, level.value, self.grid.document, level.path)
        return layered


def _level(factor: Factor, index: int) -> str:
    return f"{factor.name}={factor.levels[index].label}"
