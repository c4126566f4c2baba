"""Beforehand: what is done before the runs of a grid are trained - steps timed, cells tuned, controls trained."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InputError
from ..stats.contrast import plural
from ..store.results import UNFINISHED
from .controls import store_of
from .manifest import compare_runs
from .step_times import time_steps
from .summary import StudySummary
from .train_plan import Trainable, train_plan
from .training import How, ignore, prepare_store, train_runs, with_end
from .untrained import WorkCounter

if TYPE_CHECKING:
    from ..grid.plan import Plan, Tuning
    from ..store.runs import Store


def match_time(study: Trainable, plan: "Plan", until_decided: bool, how: How) -> "Plan":
    """The plan in which time is matched, after a training step of every cell has been timed where none was yet."""
    if plan.timed:
        return plan
    how.on_message(f"{plan.name}: timing a training step of {plural(len(plan.cells), 'cell')} to match time")
    with study.store.lock():
        time_steps(plan, study.store, study.settings)
    return study.plan(until_decided, plan)


def tune(study: Trainable, plan: "Plan", until_decided: bool, how: How) -> "tuple[Plan, StudySummary | None]":
    """Train what tunes the cells, and plan again with what was chosen; with a summary where that was interrupted.

    Errors: InputError where a tuning run did not come to an end.
    """
    again, how = bool(how.retry), replace(how, detach=False, on_comparison=ignore)
    while plan.tuning is not None and (again or not plan.tuning.ended):
        tuning, again = plan.tuning, False
        how.on_message(f"{plan.name}: tuning first, {plural(len(tuning.plan.runs), 'run')} in {tuning.plan.name}")
        summary = train_plan(study, tuning.plan, how, None, time.monotonic())
        if summary.interrupted:
            return plan, summary
        how, plan = replace(how, retry=()), study.plan(until_decided, plan)
        assert plan.tuning is not None
        if not plan.tuning.ended and len(plan.tuning.plan.runs) == len(tuning.plan.runs):
            raise InputError(f"{tuning.plan.name}: {_why_not_tuned(plan.tuning, study.store)}")
    return plan, None


def _why_not_tuned(tuning: "Tuning", store: "Store") -> str:
    ends = store.ends(run.id for run in tuning.plan.runs).values()
    failed = sorted({end.status for end in ends if end.status in ("failed", "oom")})
    if not failed or any(end.status in UNFINISHED for end in ends):
        return "not all runs came to an end; the same command tries them again"
    cell = next(label for label, choice in tuning.choices.items() if not choice.values)
    what = f"no value of {', '.join(tuning.tried)} was trained to its end on all tuning seeds (cell {cell})"
    return f"{what}; --retry {','.join(failed)} tries again what failed, `ablate table {tuning.plan.name}` shows it"


def train_controls(study: Trainable, plan: "Plan", how: How, started: float) -> StudySummary | None:
    """Train what is missing of the controls, into a store of their own; a summary where that was interrupted."""
    if plan.controls is None:
        return None
    controls, store = plan.controls, store_of(study.store, plan.name)
    with store.lock():
        for line in prepare_store(store, controls, how.retry):
            how.on_message(line)
        ends = store.ends(run.id for run in controls.runs)
        missing = store.to_train(controls.runs, how.retry, ends)
        if not missing:
            return None
        counter = WorkCounter(controls, store)
        runs = train_runs(controls, store, missing, with_end(missing, ends), counter, how.first)
    if not runs.interrupted:
        return None
    return StudySummary.of_training(
        compare_runs(plan.manifest(), study.store),
        n_trained=0,
        n_left_out=0,
        executed=0,
        interrupted=True,
        directory=study.store.grid_directory(plan.name),
        tracking="",
        started=started,
        last=None,
    )
