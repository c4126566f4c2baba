"""Choosing what is tuned: for each cell the values that were best on the tuning seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..store.results import LEFT_ALONE
from ..store.runs import Store

if TYPE_CHECKING:
    from ..grid.design import Combination
    from ..grid.factors import Factor
    from ..grid.file import Grid
    from ..grid.plan import Cell, Choice, Edge, Plan, Tuning
    from ..grid.schema import TuneConfig

MOST_EXTENSIONS = 3
"""Values that are added beyond each edge."""
Extensions = dict[str, tuple[int, int]]
"""By path, how many values were added below the first and above the last."""


class TunedGrid:
    """The tuning runs of a grid, and what they chose so far.

    With ``extend`` values are added, for every cell, as long as a best one is at the edge. Errors: InputError where
    all runs of a cell failed or diverged.
    """

    def __init__(self, grid: "Grid", plan_grid: "Callable[[Grid], Plan]", store: Store):
        from ..grid.tried import values_tried
        from ..grid.tuning import tuning_grid

        assert grid.config.tune is not None
        self.grid, self.store, self.tune = grid, store, grid.config.tune
        extensions: Extensions = {}
        while True:
            self.plan = plan_grid(tuning_grid(grid, extensions))
            self.values_tried = {path: values_tried(tried, extensions.get(path, (0, 0)))
                                 for path, tried in self.tune.settings.items()}  # fmt: skip
            self.choices = self._choose()
            more = _extended(self.tune, extensions, self.choices.values())
            if more == extensions:
                break
            extensions = more

    @property
    def values(self) -> "dict[Combination, Mapping[str, Any]]":
        """What was chosen, by the levels of the cell."""
        return {indices: choice.values for indices, choice in self.choices.items()}

    def of(self, plan: "Plan") -> "Tuning":
        """What was tuned for the cells of the grid's own plan."""
        from ..grid.plan import Tuning

        place = ("tune",)
        if shared := {*plan.seeds} & {*self.plan.seeds}:
            raise self.grid.document.error(place, f"the seed {min(shared)} would be tuned and reported on")
        if any(run.config.start_from is not None for run in plan.runs):
            raise self.grid.document.error(place, "runs that start from others are not tuned")
        choices = {cell.label: self.choices[_indices(cell, self.grid)] for cell in plan.cells}
        tried = {path: tuple(map(str, values)) for path, values in self.values_tried.items()}
        return Tuning(self.plan, tried, choices)

    @property
    def _tuned(self) -> "Sequence[Factor]":
        return self.plan.grid.factors[len(self.grid.factors) :]

    def _choose(self) -> "dict[Combination, Choice]":
        groups: dict[Combination, list[Cell]] = {}
        for cell in self.plan.cells:
            groups.setdefault(_indices(cell, self.grid), []).append(cell)
        return {indices: self._best(cells) for indices, cells in groups.items()}

    def _best(self, cells: "Sequence[Cell]") -> "Choice":
        from ..grid.matching import value_at
        from ..grid.plan import Choice

        results = self.store.results(run.id for cell in cells for run in cell.runs)
        if any(result.status not in LEFT_ALONE for result in results.values()):
            return Choice({})
        means: dict[int, float] = {}
        for index, cell in enumerate(cells):
            of_seeds = [results[run.id] for run in cell.runs]
            values = [result.value(self.plan.metric) for result in of_seeds if result.status == "completed"]
            known = [value for value in values if value is not None]
            if len(known) == len(cell.runs):  # a mean over the runs that did not diverge would favor divergence
                means[index] = fmean(known)
        if not means:
            name = self.plan.name
            what = f"no value of {', '.join(self.tune.settings)} was trained to its end on all tuning seeds"
            raise InputError(f"{name}: {what} (cell {cells[0].label}); `ablate table {name}` shows its runs")
        best = (min if self.plan.better == "lower" else max)(means, key=lambda index: means[index])
        config = cells[best].runs[0].config
        at_edge: dict[str, Edge] = {}
        for (path, values), factor in zip(self.values_tried.items(), self._tuned, strict=True):
            value = cells[best].levels[factor.path].value
            if value in (values[0], values[-1]):
                at_edge[path] = "first" if value == values[0] else "last"
        return Choice({path: value_at(config, path) for path in self.tune.settings}, at_edge)


def _extended(tune: "TuneConfig", extensions: Extensions, choices: "Iterable[Choice]") -> Extensions:
    """With one value more beyond each edge at which a best one is, as far as that is asked for and allowed."""
    if not tune.extend:
        return extensions
    edges = {(path, edge) for choice in choices for path, edge in choice.at_edge.items()}
    more = dict(extensions)
    for path in tune.settings:
        below, above = extensions.get(path, (0, 0))
        more[path] = (
            min(MOST_EXTENSIONS, below + ((path, "first") in edges)),
            min(MOST_EXTENSIONS, above + ((path, "last") in edges)),
        )
    return {path: added for path, added in more.items() if any(added)}


def _indices(cell: "Cell", grid: "Grid") -> "Combination":
    """The indices of a cell's levels in the grid that is tuned."""
    from ..grid.factors import INACTIVE, OF_INACTIVE

    levels = [(factor, cell.levels[factor.path]) for factor in grid.factors]
    return tuple(INACTIVE if level is OF_INACTIVE else factor.levels.index(level) for factor, level in levels)
