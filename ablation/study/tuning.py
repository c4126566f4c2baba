"""Choosing what is tuned: for each cell the values that were best on the tuning seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..store.results import LEFT_ALONE
from ..store.runs import Store

if TYPE_CHECKING:
    from ..grid.design import Combination
    from ..grid.file import Grid
    from ..grid.plan import Cell, Choice, Edge, Plan, Tuning
    from ..grid.schema import TuneConfig
    from ..grid.search import Ended, Searcher, Trial
    from ..grid.tried import Tried

MOST_EXTENSIONS = 3
"""Values that are added beyond each edge."""
Extensions = dict[str, tuple[int, int]]
"""By path, how many values were added below the first and above the last."""
Choices = dict["Combination", "Choice"]
"""By the levels of the cell."""


class TunedGrid:
    """The tuning runs of a grid, and what they chose so far.

    With ``extend`` values are added, for every cell, as long as a best one is at the edge; a search adds what follows
    from the trials that have ended. Errors: InputError where all runs of a cell failed or diverged.
    """

    def __init__(self, grid: "Grid", plan_grid: "Callable[[Grid], Plan]", store: Store):
        assert grid.config.tune is not None
        self.grid, self.store, self.tune = grid, store, grid.config.tune
        self.searcher: Searcher = self.tune.search.build()
        self.extensions: Extensions = {}
        if self.searcher.every_combination:
            self.plan, self.choices = self._try_every_combination(plan_grid)
        else:
            self.plan, self.choices = self._search(plan_grid)

    @property
    def values(self) -> "dict[Combination, Mapping[str, Any]]":
        """What was chosen, by the levels of the cell."""
        return {indices: choice.values for indices, choice in self.choices.items()}

    def of(self, plan: "Plan") -> "Tuning":
        """What was tuned for the cells of the grid's own plan."""
        from ..grid.plan import Tuning
        from ..grid.tried import in_words

        place = ("tune",)
        if shared := {*plan.seeds} & {*self.plan.seeds}:
            raise self.grid.document.error(place, f"the seed {min(shared)} would be tuned and reported on")
        if any(run.config.start_from is not None for run in plan.runs):
            raise self.grid.document.error(place, "runs that start from others are not tuned")
        settings = self.tune.settings
        tried = {path: in_words(each, self.extensions.get(path, (0, 0))) for path, each in settings.items()}
        n_seeds, tuned = len(self.plan.seeds), {cell.label: _indices(cell, self.grid) for cell in plan.cells}
        groups = self._of_tuned(self.plan)
        runs = {label: [run for cell in groups[indices] for run in cell.runs] for label, indices in tuned.items()}
        every = self.searcher.every_combination
        return Tuning(
            self.plan,
            tried,
            choices={label: self.choices[indices] for label, indices in tuned.items()},
            runs=runs,
            n_runs=len(self.plan.runs) if every else len(plan.cells) * self.searcher.count(settings) * n_seeds,
            n_trainings=max(map(len, runs.values())) if every else self.searcher.cost(settings) * n_seeds,
            search=self.searcher.in_words(),
            independent=self.searcher.independent,
        )

    def _try_every_combination(self, plan_grid: "Callable[[Grid], Plan]") -> "tuple[Plan, Choices]":
        from ..grid.plan import Choice
        from ..grid.search import Ended, Trial
        from ..grid.tried import values_tried
        from ..grid.tuning import grid_of_combinations

        while True:
            plan = plan_grid(grid_of_combinations(self.grid, self.extensions))
            factors = plan.grid.factors[len(self.grid.factors) :]
            paths = dict(zip(self.tune.settings, factors, strict=True))
            choices: Choices = {}
            for indices, cells in self._of_tuned(plan).items():
                trials = [Trial({path: cell.levels[factor.path].value for path, factor in paths.items()})
                          for cell in cells]  # fmt: skip
                outcomes = [self._outcome(plan, cell) for cell in cells]
                ended = [Ended(trial, score) for trial, (_, score) in zip(trials, outcomes, strict=True)]
                over = all(has_ended for has_ended, _ in outcomes)
                values = {path: values_tried(tried, self.extensions.get(path, (0, 0)))
                          for path, tried in self.tune.settings.items()}  # fmt: skip
                choices[indices] = self._choice(plan, cells, ended, values) if over else Choice({})
            more = _extended(self.tune, self.extensions, choices.values())
            if more == self.extensions:
                return plan, choices
            self.extensions = more

    def _search(self, plan_grid: "Callable[[Grid], Plan]") -> "tuple[Plan, Choices]":
        from ..grid.plan import Choice
        from ..grid.search import Ended
        from ..grid.tuning import TRIAL, grid_of_trials

        settings, first = self.tune.settings, self.searcher.next(self.tune.settings, ())
        trials = {indices: [*first] for indices in self.grid.combinations()}
        while True:
            plan, choices, more = plan_grid(grid_of_trials(self.grid, trials)), Choices(), False
            for indices, found in self._of_tuned(plan).items():
                of_trial = {cell.levels[TRIAL].value - 1: cell for cell in found}
                # A trial that equals an earlier one has no cell of its own.
                cells = [of_trial[trials[indices].index(trial)] for trial in trials[indices]]
                outcomes = [self._outcome(plan, cell) for cell in cells]
                choices[indices] = Choice({})
                if not all(has_ended for has_ended, _ in outcomes):
                    continue
                ended = [Ended(trial, score) for trial, (_, score) in zip(trials[indices], outcomes, strict=True)]
                sign = 1 if plan.better == "lower" else -1
                toward_lower = [replace(one, score=None if one.score is None else sign * one.score) for one in ended]
                if following := self.searcher.next(settings, toward_lower):
                    trials[indices] += following
                    more = True
                else:
                    choices[indices] = self._choice(plan, cells, ended, _values_in(settings, trials[indices]))
            if not more:
                return plan, choices

    def _of_tuned(self, plan: "Plan") -> "dict[Combination, list[Cell]]":
        """The cells of the tuning study by the cell that they tune."""
        groups: dict[Combination, list[Cell]] = {}
        for cell in plan.cells:
            groups.setdefault(_indices(cell, self.grid), []).append(cell)
        return groups

    def _outcome(self, plan: "Plan", cell: "Cell") -> tuple[bool, float | None]:
        """Whether all runs have ended, and the mean of the metric; None where one of them failed or diverged.

        A mean over those that did not diverge would favor divergence.
        """
        results = self.store.results(run.id for run in cell.runs).values()
        if any(result.status not in LEFT_ALONE for result in results):
            return False, None
        values = [result.value(plan.metric) for result in results if result.status == "completed"]
        known = [value for value in values if value is not None]
        return True, fmean(known) if len(known) == len(cell.runs) else None

    def _choice(
        self, plan: "Plan", cells: "Sequence[Cell]", ended: "Sequence[Ended]", values: Mapping[str, Sequence[Any]]
    ) -> "Choice":
        """The best of the trials that were trained in full; ``values`` are those that were tried, in order.

        None yet where all of these have failed: they can be tried again. Errors: InputError where all have diverged.
        """
        from ..grid.matching import value_at
        from ..grid.plan import Choice

        scores = {number: each.score for number, each in enumerate(ended)
                  if each.score is not None and each.trial.share == 1}  # fmt: skip
        if not scores:
            results = self.store.results(run.id for cell in cells for run in cell.runs).values()
            if any(result.status in ("failed", "oom") for result in results):
                return Choice({})
            what = f"no value of {', '.join(self.tune.settings)} was trained to its end on all tuning seeds"
            raise InputError(f"{plan.name}: {what} (cell {cells[0].label}); `ablate table {plan.name}` shows its runs")
        best = (min if plan.better == "lower" else max)(scores, key=lambda number: scores[number])
        at_edge: dict[str, Edge] = {}
        for path, of_path in values.items():
            value = ended[best].trial.values[path]
            if value in (of_path[0], of_path[-1]):
                at_edge[path] = "first" if value == of_path[0] else "last"
        chosen = {path: value_at(cells[best].runs[0].config, path) for path in self.tune.settings}
        return Choice(chosen, at_edge, tuple(ended))


def _values_in(settings: "Mapping[str, Tried]", trials: "Sequence[Trial]") -> dict[str, list[Any]]:
    """By path the values that a search may have tried, or within a range has tried, in order."""
    from ..grid.tried import range_of, values_tried

    found = {}
    for path, tried in settings.items():
        within = range_of(tried)
        anywhere = within is not None and within.n is None
        found[path] = sorted({trial.values[path] for trial in trials}) if anywhere else values_tried(tried)
    return found


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
