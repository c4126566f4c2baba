"""Matching: one setting that is free is chosen so that a cell has as many parameters, or FLOPs, as the baseline.

A change that also makes a model larger may help for that alone (Narang et al. 2021, arXiv:2102.11972).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..config.experiment import ExperimentConfig
from ..errors import InputError
from ..model.counts import count_inference_cost, count_parameters
from ..plugins import reason
from ..tasks.base import Task
from .cells import CellConfigs
from .design import Combination
from .factors import MATCHED
from .schema import MatchConfig

STEPS = "training.max_steps"
LARGEST_FACTOR = 64
"""How much larger or smaller than the baseline's the free setting may become."""
MOST_STEPS = 60
DIGITS = 4
"""Of a setting that is no whole number."""


@dataclass(frozen=True)
class Match:
    """What was chosen for a cell, and what came of it."""

    quantity: str
    path: str
    value: int | float
    before: float
    """The quantity relative to the baseline's, before it was matched."""
    achieved: float
    """The same afterwards."""
    tolerance: float

    @property
    def within(self) -> bool:
        return abs(self.achieved - 1) <= self.tolerance


class Matching:
    """Matches cells to their baseline, which comes first; cells that differ in crossed factors alone are one."""

    def __init__(self, configs: CellConfigs, step_seconds: Mapping[str, float] | None):
        self.configs, self.grid, self.step_seconds = configs, configs.grid, step_seconds
        self.match = self.grid.config.match
        self.at = next((index for index, factor in enumerate(self.grid.factors) if factor.path == MATCHED), None)
        self._n_designed = len(self.grid.designed_factors)
        self._baseline: float | None = None
        self._known: dict[Combination, Match] = {}

    def is_matched_beside(self, indices: Combination) -> bool:
        """Whether it is the matched one of two cells."""
        return self.at is not None and indices[self.at] == 1

    def __call__(self, indices: Combination, task_of: Callable[[ExperimentConfig], Task]) -> Match | None:
        """Choose the free setting of a cell; None where nothing had to change.

        A cell that is also run as it is has it there too where nothing came nearer, since then there is no other one.
        Errors: InputError where nothing can be matched by that setting.
        """
        if self.match is None:
            return None
        match = self.match
        if match.quantity == "parameters" and not match.by.startswith("model."):
            what = f"{match.by} changes no number of parameters; allowed: a path of the model, such as model.d_model"
            raise self.grid.document.error(("match", "by"), what)
        if match.quantity == "time" and (self.step_seconds is None or match.by != STEPS):
            if match.by != STEPS:
                what = f"time is matched by {STEPS} alone, since the time of another setting is not known beforehand"
                raise self.grid.document.error(("match", "by"), what)
            return None  # it is matched once steps have been timed
        if self._baseline is None:
            first = (0,) * len(indices)
            self._baseline = self._amount(match, first, self.configs.resolve(first), task_of)
        designed = (*indices[: self._n_designed], *(0,) * (len(indices) - self._n_designed))
        if not any(designed):
            return None
        if designed not in self._known:
            self._known[designed] = self._solve(match, designed, self._baseline, task_of)
        found = self._known[designed]
        is_matched_one = self.is_matched_beside(indices)
        if found.achieved == found.before:  # nothing came nearer
            return None if found.within or is_matched_one else found
        if self.at is not None and not is_matched_one:
            return None
        self.configs.choose(indices, {match.by: found.value}, "match")
        return found

    def _solve(
        self, match: MatchConfig, cell: Combination, baseline: float, task_of: Callable[[ExperimentConfig], Task]
    ) -> Match:
        of_cell = f" (cell {self.configs.label(cell)})"

        def amount(value: int | float) -> float:
            layered = self.configs.layered(cell)
            layered.set(match.by, value, self.grid.document, ("match", "by"))
            try:
                config = layered.build()
            except InputError as error:  # at the place of what it contradicts, which the user has not set so
                what = str(error).partition(": ")[2].removesuffix(of_cell)
                advice = "; `multiple_of` leaves out what does not divide" if " divide " in what else ""
                raise ValueError(f"cannot be {value}: {what}{advice}") from error
            return self._amount(match, cell, config, task_of) / baseline

        try:
            return solve(match, value_at(self.configs.resolve(cell), match.by), amount)
        except InputError:
            raise
        except Exception as error:
            raise self.grid.document.error(("match", "by"), f"{match.by} {reason(error)}{of_cell}") from error

    def _amount(
        self,
        match: MatchConfig,
        cell: Combination,
        config: ExperimentConfig,
        task_of: Callable[[ExperimentConfig], Task],
    ) -> float:
        task = task_of(config)
        if match.quantity == "parameters":
            return count_parameters(config.model, task.vocabulary, task.longest, task.n_classes).parameters
        if match.quantity == "flops":
            return count_inference_cost(config.model, task).flops_per_token * config.training_tokens
        assert self.step_seconds is not None
        label = self.configs.label(cell)
        if label not in self.step_seconds:
            raise ValueError("cannot be chosen: no training step could be timed")
        return self.step_seconds[label] * config.training.max_steps


def value_at(config: Any, path: str) -> Any:
    """The value at a path of a configuration. Errors: ValueError where it has none."""
    for key in path.split("."):
        if not hasattr(type(config), "model_fields") or key not in type(config).model_fields:
            raise ValueError("does not exist here, so that nothing can be chosen by it")
        config = getattr(config, key)
    return config


def solve(match: MatchConfig, start: Any, amount: Callable[[int | float], float]) -> Match:
    """The value of the free setting at which ``amount``, relative to the baseline's and growing with it, is nearest 1.

    ``start`` is the cell's own value. Errors: ValueError where it is no number, or what ``amount`` raises.
    """
    if isinstance(start, bool) or not isinstance(start, int | float) or start <= 0:
        raise ValueError(f"is {start!r} here, no positive number, so that nothing can be matched by it")
    before, whole = amount(start), isinstance(start, int)
    if abs(before - 1) <= match.tolerance:
        return Match(match.quantity, match.by, start, before, before, match.tolerance)

    def rounded(value: float) -> int | float:
        step = match.multiple_of
        return max(step, round(value / step) * step) if whole else float(f"{value:.{DIGITS}g}")

    tried: dict[int | float, float] = {start: before}

    def at(value: float) -> float:
        key = rounded(value)
        if key not in tried:
            tried[key] = amount(key)
        return tried[key]

    low = high = float(start)
    while at(low) > 1 and low > start / LARGEST_FACTOR and rounded(low) != rounded(low / 2):
        low /= 2
    while at(high) < 1 and high < start * LARGEST_FACTOR:
        high *= 2
    for _ in range(MOST_STEPS):
        middle = (low + high) / 2
        if rounded(middle) in (rounded(low), rounded(high)):
            break
        low, high = (middle, high) if at(middle) < 1 else (low, middle)
    allowed = {value: found for value, found in tried.items() if not whole or value % match.multiple_of == 0} or tried
    value = min(allowed, key=lambda each: abs(allowed[each] - 1))
    return Match(match.quantity, match.by, value, before, allowed[value], match.tolerance)
