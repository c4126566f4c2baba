"""Plan: a grid, resolved into cells and runs, everything checked before anything starts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config.experiment import ExperimentConfig
from ..config.identity import canonical, run_id, run_identity
from ..config.layered import LayeredConfig, dump, read_assignment, read_base
from ..errors import InputError, nearest
from ..model.config import mixers_without_heads
from ..model.counts import Counts, count_parameters
from ..plugins import Plugin, reason
from ..registry import REGISTRY
from ..tasks.base import Task
from .duplicates import effective_identity
from .file import LARGEST_GRID, Factor, Grid, Level

SCHEMA = 1
"""Of manifest.json."""

MARGINS = ("training_step", "prefill", "decode", "learning_rate_sensitivity", "log_spike_score")
"""Measures beside those of the task that a grid may declare a margin for."""


@dataclass(frozen=True)
class Run:
    """One cell with one seed: the unit that is trained, stored, resumed."""

    id: str
    config: ExperimentConfig
    identity: dict[str, Any]

    @property
    def seed(self) -> int:
        return self.config.seed


@dataclass(frozen=True)
class Cell:
    """One combination of levels."""

    label: str
    """What differs from the baseline; the baseline's own names all its levels."""
    levels: dict[str, Level]
    """By the factor's path."""
    runs: tuple[Run, ...]
    counts: Counts


@dataclass(frozen=True)
class Plan:
    """All cells of a grid with all their runs; the baseline first."""

    grid: Grid
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    plugins: tuple[Plugin, ...]
    metric: str
    better: str
    task: dict[str, str | int | None]
    """What a reader of the table should know of the task."""
    interim_looks: tuple[int, ...] = ()
    """Numbers of seeds at which verdicts may be looked at; empty: once, with all."""

    @property
    def name(self) -> str:
        return self.grid.config.name

    @property
    def runs(self) -> list[Run]:
        """Seed by seed, so that a grid that is cut short has compared all cells on the seeds it got to."""
        rounds = range(len(self.seeds))
        return [cell.runs[index] for index in rounds for cell in self.cells if index < len(cell.runs)]

    def with_seeds(self, n_seeds: Mapping[str, int]) -> "Plan":
        """The same with so many of the seeds for each cell, by its label."""
        cells = tuple(replace(cell, runs=cell.runs[: n_seeds[cell.label]]) for cell in self.cells)
        return replace(self, cells=cells, seeds=self.seeds[: max(n_seeds.values())])

    def levels(self, factor: Factor) -> list[str]:
        """The labels of those that any cell has; others were excluded with all their cells."""
        there = {cell.levels[factor.path].label for cell in self.cells}
        return [level.label for level in factor.levels if level.label in there]

    def design(self) -> dict[str, Any]:
        """How the cells were chosen, as plain data, so that nothing is averaged that was not crossed."""
        design = self.grid.design
        return {
            "name": self.grid.config.design.name,
            "uncrossed": design.uncrossed,
            "stepwise": design.stepwise,
            "excluded": [{"label": one.label, "cells": one.n_cells} for one in self.grid.exclusions],
        }

    def manifest(self) -> dict[str, Any]:
        """The plan as plain data, all that tables need besides the runs themselves."""
        return {
            "schema": SCHEMA,
            "grid": self.name,
            "metric": self.metric,
            "better": self.better,
            "seeds": list(self.seeds),
            "margins": self.grid.config.margins,
            "interim_looks": list(self.interim_looks),
            "claim": None if self.grid.config.claim is None else self.grid.config.claim.model_dump(mode="json"),
            "task": self.task,
            "design": self.design(),
            "factors": [
                {
                    "path": factor.path,
                    "name": factor.name,
                    "levels": self.levels(factor),
                    "baseline": factor.levels[0].label,
                }
                for factor in self.grid.factors
            ],
            "cells": [
                {
                    "label": cell.label,
                    "settings": {path: level.value for path, level in cell.levels.items()},
                    "levels": {path: level.label for path, level in cell.levels.items()},
                    "counts": cell.counts.as_dict(),
                    "runs": [{"seed": run.seed, "id": run.id} for run in cell.runs],
                }
                for cell in self.cells
            ],
        }


def make_plan(
    grid: Grid, overrides: Iterable[str] = (), n_seeds: int | None = None, plugins: Sequence[Plugin] = ()
) -> Plan:
    """Resolve every cell; ``overrides`` are ``path=value`` from the command line, laid over the file's ``set``.

    Errors: InputError for the first thing that is wrong in any cell; nothing has been started by then.
    """
    draft = _common(grid, overrides)
    seeds = _seeds(grid, n_seeds, draft.build().seed)
    planner = _Planner(grid, draft, seeds)
    cells = tuple(planner.cell(indices) for indices in grid.combinations())
    _refuse_duplicates(grid, cells)
    task = planner.task(cells[0].runs[0].config, draft)
    metric, better = _metric(grid, task)
    looks = tuple(grid.config.interim_looks or ())
    return Plan(grid, seeds, cells, tuple(plugins), metric, better, task.describe(), looks)


def _metric(grid: Grid, task: Task) -> tuple[str, str]:
    """The measure that the grid is about, and which way is good."""
    wanted, margins = grid.config.metric, grid.config.margins
    if wanted is None and not margins:
        return task.primary, task.better
    directions = {name: metric.higher_is_better for name, metric in task.metrics().items()}
    if task.kind == "seq2seq":
        directions["edit_distance"] = False  # of what is decoded when the training is over
    sets = ["", *(f"@{name}" for name in task.further_validation())]
    known = {f"{name}{ending}": higher for name, higher in directions.items() for ending in sets}
    if wanted is not None and wanted not in known:
        what = f"{wanted!r} is not measured; allowed: {', '.join(known)}{nearest(wanted, known)}"
        raise grid.document.error(("metric",), what)
    for name in margins:
        if name not in known and name not in MARGINS:
            allowed = [*known, *MARGINS]
            what = f"{name!r} is not measured; allowed: {', '.join(allowed)}{nearest(name, allowed)}"
            raise grid.document.error(("margins", name), what)
    if wanted is None or wanted == task.primary:
        return task.primary, task.better
    return wanted, "higher" if known[wanted] else "lower"


def _common(grid: Grid, overrides: Iterable[str]) -> LayeredConfig:
    """What all cells share."""
    document = grid.document
    try:
        draft = read_base(grid.base)
    except InputError as error:
        if grid.base.is_file():
            raise
        raise document.error(("base",), str(error)) from None  # it names the wrong file, not a wrong line in it
    for path, value in sorted(grid.config.set.items(), key=lambda item: item[0].count(".")):
        draft.set(path, value, document, ("set", path))
    for override in overrides:
        path, value, assignment = read_assignment(override)
        if refusal := grid.refuse_fixed(path):
            raise assignment.error((path,), f"{refusal} ({document.file})")
        draft.set(path, value, assignment, (path,))
    return draft


def _seeds(grid: Grid, n_seeds: int | None, first: int) -> tuple[int, ...]:
    """The file's seeds, or ``n_seeds`` of them; seeds that are only counted begin with the configuration's own."""
    written = grid.config.seeds
    listed = None if isinstance(written, int) else written
    count = n_seeds or (written if isinstance(written, int) else len(written))
    if listed is not None and count > len(listed):
        raise InputError(f"--seeds {n_seeds}: {grid.document.file} lists only {len(listed)}")
    if grid.n_cells * count > LARGEST_GRID:
        what = f"{grid.n_cells:,} cells with {count:,} seeds each; at most {LARGEST_GRID:,} runs are allowed"
        raise grid.document.error(("seeds",), what) if n_seeds is None else InputError(f"--seeds {n_seeds}: {what}")
    return tuple(range(first, first + count)) if listed is None else tuple(listed[:count])


class _Planner:
    """Resolves cell after cell; what several share, the data and the sizes, is looked at once."""

    def __init__(self, grid: Grid, draft: LayeredConfig, seeds: tuple[int, ...]):
        self.grid, self.draft, self.seeds = grid, draft, seeds
        self.tasks: dict[str, Task] = {}
        self.counted: dict[str, Counts] = {}

    def cell(self, indices: tuple[int, ...]) -> Cell:
        chosen = [(factor, factor.levels[index]) for factor, index in zip(self.grid.factors, indices, strict=True)]
        label = _label(chosen, indices)
        draft = self.draft.copy(cell=label)
        for factor, level in sorted(chosen, key=lambda pair: pair[0].path.count(".")):
            draft.set(factor.path, level.value, self.grid.document, level.place)
        config = draft.build()
        task = self.task(config, draft)
        counts = self.counts(config, task, draft)
        fingerprint = task.fingerprint()
        runs = tuple(self.run(config.model_copy(update={"seed": seed}), fingerprint) for seed in self.seeds)
        return Cell(label, {factor.path: level for factor, level in chosen}, runs, counts)

    def run(self, config: ExperimentConfig, fingerprint: str | None) -> Run:
        identity = run_identity(config, fingerprint)
        return Run(run_id(identity), config, identity)

    def task(self, config: ExperimentConfig, draft: LayeredConfig) -> Task:
        """The data, looked at: that they are there and suffice is known before anything starts."""
        key = config.task.model_dump_json()
        if key not in self.tasks:
            try:
                task: Task = config.task.build()
                task.validation()
            except Exception as error:
                message = reason(error)
                path, _, what = message.partition(": ")
                place = tuple(path.split("."))
                raise draft.error(*((place, what) if place[0] == "task" else (("task",), message))) from error
            self.tasks[key] = task
        return self.tasks[key]

    def counts(self, config: ExperimentConfig, task: Task, draft: LayeredConfig) -> Counts:
        architecture = config.model.architecture
        tasks: tuple[str, ...] = architecture.component.tasks
        if task.kind not in tasks:
            kinds = {name: part.component.tasks for name, part in REGISTRY["architecture"].items()}
            able = ", ".join(name for name, served in kinds.items() if task.kind in served)
            what = f"{architecture.name!r} cannot learn {config.task.name!r} ({task.kind}); allowed: {able}"
            raise draft.error(("model", "architecture"), what)
        if config.model.max_length is not None and config.model.max_length < task.longest:
            what = f"max_length {config.model.max_length} is shorter than the texts of {task.longest} tokens"
            raise draft.error(("model", "max_length"), what)
        key = canonical([dump(config)["model"], task.vocabulary, task.longest, task.n_classes])
        if key not in self.counted:
            try:
                self.counted[key] = count_parameters(config.model, task.vocabulary, task.longest, task.n_classes)
            except Exception as error:
                raise draft.error(("model",), reason(error)) from error
        return self.counted[key]


def _label(chosen: list[tuple[Factor, Level]], indices: tuple[int, ...]) -> str:
    named = [f"{factor.name}={level.label}" for factor, level in chosen]
    differing = [name for name, index in zip(named, indices, strict=True) if index]
    return " ".join(differing or named)


def _refuse_duplicates(grid: Grid, cells: tuple[Cell, ...]) -> None:
    """Levels may be written differently and mean the same, or differ in what the model does not hear."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        run = cell.runs[0]
        twin = seen.setdefault(effective_identity(run.config, run.identity["fingerprint"]), cell)
        if twin is cell:
            continue
        differing = [factor for factor in grid.factors if cell.levels[factor.path] is not twin.levels[factor.path]]
        one, other = (" ".join(f"{f.name}={who.levels[f.path].label}" for f in differing) for who in (twin, cell))
        place = max(who.levels[differing[0].path].place for who in (twin, cell))
        raise grid.document.at(place, f"{one} and {other} are the same experiment{_why_equivalent(twin, cell)}")


def _why_equivalent(one: Cell, other: Cell) -> str:
    """Why two are the same in effect that are not the same run."""
    if one.runs[0].id == other.runs[0].id:
        return ""
    model, same = one.runs[0].config.model, other.runs[0].config.model
    deaf = mixers_without_heads(model)
    if deaf:
        return f" in effect: {deaf} has no heads"
    if model.d_head != same.d_head:
        return " in effect: d_head null stands for d_model / n_heads"
    return " in effect: n_kv_heads null stands for n_heads"
