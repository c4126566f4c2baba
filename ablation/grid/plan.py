"""The plan of a grid: all its cells and runs, resolved and checked before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..config.experiment import ExperimentConfig
from ..config.identity import run_identity
from ..model.counts import Counts
from ..plugins import Plugin
from .conditions import label_of
from .factors import Factor, Level
from .file import Grid
from .matching import Match
from .schema import NO_LEVEL
from .search import Ended

SCHEMA = 1
"""Version of manifest.json."""


@dataclass(frozen=True, slots=True)
class Run:
    """One cell with one seed: the unit that is trained, stored, resumed."""

    id: str
    config: ExperimentConfig
    fingerprint: str | None
    """Of the content of its data."""
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What its files of data held when it was planned; see ``tasks.unchanged.file_states``."""
    measured_on: Mapping[str, Any] = field(default_factory=dict)
    """What its measures are about; see ``Task.measured_on``, with the name of the task as ``task``."""

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def identity(self) -> dict[str, Any]:
        """What its id is of, written out anew: a grid may have a hundred thousand runs."""
        return run_identity(self.config, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of levels."""

    label: str
    """The levels in which it differs from the baseline; the label of the baseline itself names all its levels."""
    levels: dict[str, Level]
    """By the path of the factor."""
    runs: tuple[Run, ...]
    counts: Counts
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """The paths with values that it has beside its levels; see ``overrides`` of the grid."""
    beside: tuple[str, ...] = ()
    """What differs from the baseline beside its levels, in words."""
    match: Match | None = None
    """How it was brought to the baseline's size."""

    @property
    def settings(self) -> dict[str, Any]:
        """The paths with values in which it may differ from other cells."""
        of_levels = {setting.path: setting.value for level in self.levels.values() for setting in level.settings}
        return {**of_levels, **self.overrides}


Edge = Literal["first", "last"]


@dataclass(frozen=True)
class Choice:
    """What tuning chose for a cell."""

    values: Mapping[str, Any]
    """By path; empty until all of its tuning runs have ended."""
    at_edge: Mapping[str, Edge] = field(default_factory=dict)
    """The paths whose best value is the first or the last that was tried."""
    trials: tuple[Ended, ...] = ()
    """All that was tried for it."""


@dataclass(frozen=True)
class Tuning:
    """The runs by which settings are tuned, and what was chosen by them."""

    plan: "Plan"
    tried: Mapping[str, Sequence[str]]
    """By path, the values."""
    choices: Mapping[str, Choice]
    """By the label of the cell."""
    runs: Mapping[str, Sequence[Run]]
    """By the label of the cell that they tune."""
    n_runs: int
    """How many there are when all have ended."""
    n_trainings: float
    """How many whole trainings those of one cell are."""
    search: str
    """How values were found, in words; empty where all combinations were tried."""
    independent: bool
    """Whether no trial depended on another one."""

    @property
    def ended(self) -> bool:
        return all(choice.values for choice in self.choices.values())

    def manifest(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "grid": self.plan.name,
            "ended": self.ended,
            "tried": {path: list(labels) for path, labels in self.tried.items()},
            "search": self.search,
            "independent": self.independent,
            "seeds": list(self.plan.seeds),
            "cells": [
                {
                    "label": label,
                    "chosen": dict(choice.values),
                    "at_edge": dict(choice.at_edge),
                    "trials": [
                        {"values": dict(each.trial.values), "share": each.trial.share, "score": each.score}
                        for each in choice.trials
                    ],
                }
                for label, choice in self.choices.items()
            ],
        }


@dataclass(frozen=True, repr=False)
class Plan:
    """All cells of a grid with all their runs; the baseline is the first."""

    grid: Grid
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    plugins: tuple[Plugin, ...]
    metric: str
    better: str
    data: tuple[Mapping[str, Any], ...] = ()
    """What is learned from, as plain data; see ``DataDescription``, with the labels of the ``cells`` that it is of."""
    interim_looks: tuple[int, ...] = ()
    """Numbers of seeds after which an interim analysis is planned; empty: one analysis, with all seeds."""
    margins: Mapping[str, float | None] = field(default_factory=dict)
    """The margins of metrics that have another one than the default; None: none is declared."""
    base: bytes = b""
    """What the baseline's file held."""
    parents: "tuple[Plan, ...]" = ()
    """The grids whose runs those of this one start from, to be trained first."""
    tuning: "Tuning | None" = None
    """What was tuned for each cell; None where nothing is."""
    timed: bool = True
    """Whether steps were timed, where its grid matches time: before, cells stand as they are."""
    controls: "Plan | None" = None
    """Runs whose outcome is known before; None where the grid asks for none."""

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, {len(self.cells)} cells, {len(self.runs)} runs)"

    @property
    def name(self) -> str:
        return self.grid.config.name

    @property
    def decided(self) -> bool:
        """Whether its runs are known: steps are timed where time is matched, and what is tuned is chosen."""
        return self.timed and (self.tuning is None or self.tuning.ended)

    @property
    def runs(self) -> list[Run]:
        """All runs, seed by seed, so that an interrupted grid has complete comparisons for its first seeds."""
        indices = range(len(self.seeds))
        return [cell.runs[index] for index in indices for cell in self.cells if index < len(cell.runs)]

    def with_seeds(self, n_seeds: Mapping[str, int]) -> "Plan":
        """The same plan with only the first ``n_seeds[label]`` seeds of each cell."""
        cells = tuple(replace(cell, runs=cell.runs[: n_seeds[cell.label]]) for cell in self.cells)
        return replace(self, cells=cells, seeds=self.seeds[: max(n_seeds.values())])

    def levels(self, factor: Factor) -> list[str]:
        """The labels of a factor's levels, the baseline's first, without those that no cell has."""
        labels = {cell.levels[factor.path].label for cell in self.cells}
        first = self.cells[0].levels[factor.path].label
        known = dict.fromkeys([first, *(level.label for level in factor.levels), NO_LEVEL])
        return [label for label in known if label in labels]

    def design(self) -> dict[str, Any]:
        """The design as plain data; from it the comparison knows which averages over cells are valid."""
        design, factors = self.grid.design, self.grid.factors
        return {
            "name": "cells" if self.grid.config.cells else self.grid.config.design.name,
            "uncrossed": self.grid.uncrossed,
            "stepwise": design.stepwise and not self.grid.config.cells,
            "orders": [
                [factors[index].path for index in order]
                for order in design.orders([len(factor.levels) for factor in self.grid.designed_factors])
                if not self.grid.config.cells
            ],
            "confounded": [
                [" x ".join(factors[index].name for index in effect) for effect in group]
                for group in design.confounded([len(factor.levels) for factor in self.grid.designed_factors])
                if not (self.grid.config.cells or self.grid.exclusions or self.grid.conditions)
            ],
            "conditions": [
                {"factor": factors[each.factor].name, "label": each.label(factors)} for each in self.grid.conditions
            ],
            "overrides": [
                {"label": label_of(each.levels, factors), "set": {s.path: s.value for s in each.settings}}
                for each in self.grid.overrides
            ],
            "excluded": [
                {"label": each.label, "cells": each.n_cells, "reason": each.reason} for each in self.grid.exclusions
            ],
        }

    def manifest(self) -> dict[str, Any]:
        """The plan as plain data: everything that a table needs apart from the results of the runs."""
        return {
            "schema": SCHEMA,
            "grid": self.name,
            "question": self.grid.question,
            "metric": self.metric,
            "better": self.better,
            "seeds": list(self.seeds),
            "margins": dict(self.margins),
            "interim_looks": list(self.interim_looks),
            "variance": self.grid.config.variance,
            "claim": None if self.grid.config.claim is None else self.grid.config.claim.model_dump(mode="json"),
            "data": [dict(description) for description in self.data],
            "tuning": None if self.tuning is None else self.tuning.manifest(),
            "timed": self.timed,
            "controls": None
            if self.controls is None
            else {cell.label: [run.id for run in cell.runs] for cell in self.controls.cells},
            "design": self.design(),
            "factors": [
                {
                    "path": factor.path,
                    "name": factor.name,
                    "levels": self.levels(factor),
                    "baseline": self.cells[0].levels[factor.path].label,
                    "paths": factor.paths,
                }
                for factor in self.grid.factors
            ],
            "cells": [
                {
                    "label": cell.label,
                    "settings": cell.settings,
                    "levels": {path: level.label for path, level in cell.levels.items()},
                    "beside": list(cell.beside),
                    "match": None if cell.match is None else asdict(cell.match),
                    "counts": cell.counts.as_dict(),
                    "measured_on": dict(cell.runs[0].measured_on),
                    "runs": [{"seed": run.seed, "id": run.id} for run in cell.runs],
                }
                for cell in self.cells
            ],
        }
