"""Planning: every cell of a grid is resolved into a configuration and checked, without side effects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config.experiment import ExperimentConfig
from ..config.identity import SharedIdentities
from ..config.layered import LayeredConfig, read_assignment, read_base
from ..config.shared import OncePerObject
from ..errors import FAILURES, InputError, nearest
from ..model.build import build_uninitialized
from ..plugins import Plugin, reason
from ..registry import ComponentConfig, Config
from ..tasks.base import Task, model_inputs
from ..tasks.extra_metrics import all_metrics
from ..tasks.loss import has_cross_entropy
from ..tasks.minimal_pairs import PAIR_ACCURACY
from ..tasks.unchanged import file_states
from ..yaml import KeyPath
from .cells import CellConfigs
from .checks import Checks, Fail, PlannedTask
from .comparable import refuse_incomparable
from .design import Combination
from .duplicates import refuse_duplicates
from .file import LARGEST_GRID, Grid
from .guard import beside_levels
from .matching import Matching
from .plan import Cell, Plan, Run
from .tuning import choose_tried, refuse_tuned_components

MARGINS = ("training_step", "prefill", "decode", "learning_rate_sensitivity", "log_spike_score")
"""Measures, apart from those of the task, for which a grid may declare a margin."""


@dataclass(frozen=True)
class StartingRun:
    """A run that another one starts from."""

    id: str
    config: ExperimentConfig


NOTHING_TUNED: Mapping[Combination, Mapping[str, Any]] = {}
FindStarts = Callable[[str, Sequence[int]], Sequence[StartingRun]]
"""The runs that a ``start_from`` means, one for each seed. Errors: InputError, which does not name the key."""


def make_plan(
    grid: Grid,
    overrides: Iterable[str] = (),
    n_seeds: int | None = None,
    plugins: Sequence[Plugin] = (),
    find_starts: FindStarts | None = None,
    tuned: Mapping[Combination, Mapping[str, Any]] = NOTHING_TUNED,
    step_seconds: Mapping[str, float] | None = None,
) -> Plan:
    """The plan of a grid; ``overrides`` are ``path=value`` from the command line, laid over the file's ``set``.

    ``tuned`` are the values that tuning chose for a cell, by path; ``step_seconds`` the time of a training step, by the
    label of the cell, where time is matched. Errors: InputError for the first error in any cell.
    """
    configs = CellConfigs(grid, _common(grid, overrides))
    refuse_tuned_components(configs)
    for indices, values in tuned.items():
        configs.choose(indices, values, "tune")
    seeds = _seeds(grid, n_seeds, configs.config.seed)
    planner = _Planner(configs, seeds, find_starts, Matching(configs, step_seconds))
    cells = tuple(cell for indices in grid.combinations() if (cell := planner.cell(indices)) is not None)
    if (n_seeds_of_others := grid.n_seeds_of_others) is not None:
        others = (replace(cell, runs=cell.runs[:n_seeds_of_others]) for cell in cells[1:])
        cells = (cells[0], *others)
    refuse_duplicates(grid, cells, planner.identities)
    beside = beside_levels(grid, cells)
    cells = tuple(
        replace(cell, beside=tuple(map(str, changes))) if changes else cell
        for cell, changes in zip(cells, beside, strict=True)
    )
    refuse_incomparable(grid, cells, {change.path for of_cell in beside for change in of_cell if not change.declared})
    task = planner.planned_task(cells[0].runs[0].config, configs.common.error).task
    metric, better = _metric(grid, task, cells[0].runs[0].config.metrics)
    interim_looks = tuple(grid.config.interim_looks or ())
    margins = _margins_of_own_loss(task) | grid.config.margins
    data, base = planner.descriptions(cells), configs.common.base.content
    return Plan(grid, seeds, cells, tuple(plugins), metric, better, data, interim_looks, margins, base)


def _margins_of_own_loss(task: Task) -> dict[str, float | None]:
    """No margin of a loss that is not the cross-entropy, as the default one is in nats."""
    if has_cross_entropy(task):
        return {}
    return dict.fromkeys(["loss", *(f"loss@{name}" for name in _named_sets(task))])


def _named_sets(task: Task) -> list[str]:
    """The names of all sets that are scored beside the usual one."""
    return [*task.further_validation(), *task.final_sets()]


def _metric(grid: Grid, task: Task, extra: Sequence[ComponentConfig[Any]]) -> tuple[str, str]:
    """The measure that verdicts on quality are about, and whether lower or higher is better."""
    metric, margins = grid.config.metric, grid.config.margins
    if metric is None and not margins:
        return task.primary, task.better
    higher_is_better = {name: metric.higher_is_better for name, metric in all_metrics(task, extra).items()}
    if task.kind == "seq2seq":
        higher_is_better["edit_distance"] = False  # measured on decoded sequences after training
    suffixes = ["", *(f"@{name}" for name in _named_sets(task))]
    measures = {f"{name}{suffix}": higher for name, higher in higher_is_better.items() for suffix in suffixes}
    for name, pairs in task.sentence_pairs().items():
        measures |= {f"{PAIR_ACCURACY}@{name}{part}": True for part in pairs.parts}
    if metric is not None and metric not in measures:
        what = f"{metric!r} is not measured; allowed: {', '.join(measures)}{nearest(metric, measures)}"
        raise grid.document.error(("metric",), what)
    for name in margins:
        if name not in measures and name not in MARGINS:
            allowed = [*measures, *MARGINS]
            what = f"{name!r} is not measured; allowed: {', '.join(allowed)}{nearest(name, allowed)}"
            raise grid.document.error(("margins", name), what)
    if metric is None or metric == task.primary:
        return task.primary, task.better
    return metric, "higher" if measures[metric] else "lower"


def _common(grid: Grid, overrides: Iterable[str]) -> LayeredConfig:
    """The configuration that all cells have in common: the baseline's file, ``set`` and ``overrides``."""
    document, base = grid.document, grid.base
    try:
        common = read_base(base) if grid.base_read is None else LayeredConfig(grid.base_read)
    except InputError as error:
        if base.is_file():
            raise
        raise document.error(("base",), str(error)) from None  # the line to change is in the grid file
    for path, value in sorted(grid.config.set.items(), key=lambda item: item[0].count(".")):
        common.set(path, value, document, ("set", path))
    for override in overrides:
        path, value, assignment = read_assignment(override)
        if conflict := grid.conflict_with_factors(path):
            raise assignment.error((path,), f"{conflict} ({document.file})")
        common.set(path, value, assignment, (path,))
    return common


def _seeds(grid: Grid, n_seeds: int | None, first: int) -> tuple[int, ...]:
    """The seeds of the file, or the first ``n_seeds`` of them; where the file has only their number, from ``first``."""
    seeds = grid.config.seeds
    count = n_seeds or (seeds if isinstance(seeds, int) else len(seeds))
    if not isinstance(seeds, int) and count > len(seeds):
        raise InputError(f"--seeds {n_seeds}: {grid.document.file} lists only {len(seeds)}")
    if grid.n_cells * count > LARGEST_GRID:
        what = f"{grid.n_cells:,} cells with {count:,} seeds each; at most {LARGEST_GRID:,} runs are allowed"
        raise grid.document.error(("seeds",), what) if n_seeds is None else InputError(f"--seeds {n_seeds}: {what}")
    return tuple(range(first, first + count)) if isinstance(seeds, int) else tuple(seeds[:count])


class _Planner:
    """Resolves one cell after the other; data and checks that several cells share are loaded and made once."""

    def __init__(
        self, configs: CellConfigs, seeds: tuple[int, ...], find_starts: FindStarts | None, matching: Matching
    ):
        self.configs, self.seeds, self.find_starts = configs, seeds, find_starts
        self.tasks: dict[str, PlannedTask] = {}
        self.task_key = OncePerObject[Config, str](lambda task: task.model_dump_json())
        self.identities, self.checks = SharedIdentities(), Checks()
        self.matching = matching

    def cell(self, indices: Combination) -> Cell | None:
        """None where it would be there twice: it is of the baseline's size as it is, or was tried before."""

        def fail(path: KeyPath, what: str) -> InputError:
            return self.configs.layered(indices).error(path, what)

        match = self.matching(indices, lambda config: self.planned_task(config, fail).task)
        if match is None and self.matching.is_matched_beside(indices):
            return None
        if not choose_tried(self.configs, indices):
            return None
        config = self.configs.resolve(indices)
        planned = self.planned_task(config, fail)
        counts = self.checks.counts(config, planned, fail)
        runs = []
        for seed, start in zip(self.seeds, self.starts(config, planned.task, fail), strict=True):
            is_as_resolved = (seed, start) == (config.seed, config.start_from)
            seeded = config if is_as_resolved else config.model_copy(update={"seed": seed, "start_from": start})
            run_id = self.identities.run_id(self.identities.identity(seeded, planned.fingerprint))
            runs.append(Run(run_id, seeded, planned.fingerprint, planned.files, planned.measured_on))
        levels, overrides = self.configs.levels(indices), self.configs.overridden(indices)
        return Cell(self.configs.label(indices), levels, tuple(runs), counts, overrides, match=match)

    def planned_task(self, config: ExperimentConfig, fail: Fail) -> PlannedTask:
        """The task, with its data loaded: that they exist and suffice is checked before anything starts."""
        key = self.task_key(config.task)
        if key not in self.tasks:
            try:
                task: Task = config.task.build()
                self.tasks[key] = PlannedTask(
                    task,
                    inputs=tuple(model_inputs(task.validation())),
                    fingerprint=task.fingerprint(),
                    files=file_states(task),
                    measured_on={"task": config.task.name, **task.measured_on()},
                )
            except FAILURES as error:
                message = reason(error)
                path, _, what = message.partition(": ")
                keys = tuple(path.split("."))
                raise fail(*((keys, what) if keys[0] == "task" else (("task",), message))) from error
        return self.tasks[key]

    def descriptions(self, cells: Sequence[Cell]) -> tuple[dict[str, Any], ...]:
        """What each different task is learned from, with the labels of its cells."""
        labels: dict[str, list[str]] = {}
        for cell in cells:
            labels.setdefault(self.task_key(cell.runs[0].config.task), []).append(cell.label)
        return tuple({"cells": of, **self.tasks[key].task.describe().as_dict()} for key, of in labels.items())

    def starts(self, config: ExperimentConfig, task: Task, fail: Fail) -> tuple[str | None, ...]:
        """The ids of the runs that the cell's runs start from, seed by seed."""
        if config.start_from is None:
            return (None,) * len(self.seeds)
        if self.find_starts is None:
            raise fail(("start_from",), "needs the directory of runs")
        try:
            runs = self.find_starts(config.start_from, self.seeds)
            for other in {run.config.model_dump_json(exclude={"seed", "start_from"}): run for run in runs}.values():
                self.check_start(other, config, task, fail)
        except InputError as error:
            raise fail(("start_from",), str(error)) from None
        return tuple(run.id for run in runs)

    def check_start(self, start: StartingRun, config: ExperimentConfig, task: Task, fail: Fail) -> None:
        """Errors: InputError where the weights would be of other tokens, or none of them fits."""
        other = self.planned_task(start.config, fail).task
        if other.vocabulary != task.vocabulary or _texts_of_tokens(other) != _texts_of_tokens(task):
            what = f"it has {other.vocabulary} tokens, this task {task.vocabulary}"
            if other.vocabulary == task.vocabulary:
                what = f"its {other.vocabulary} tokens are others than this task's"
            raise InputError(f"run {start.id[:12]}: {what}; level: byte has the same ones for every text")
        models = (
            build_uninitialized(one.model, of.vocabulary, of.longest, of.n_classes)
            for one, of in ((start.config, other), (config, task))
        )
        before, after = ({name: x.shape for name, x in model.state_dict().items()} for model in models)
        if not any(after[name] == shape for name, shape in before.items() if name in after):
            raise InputError(f"run {start.id[:12]}: none of its weights fits into this model")


def _texts_of_tokens(task: Task) -> list[str] | None:
    """The text of every token, None where they have none."""
    try:
        return [task.decode([token]) for token in range(task.vocabulary)]
    except InputError:
        return None
