"""What a plan holds, as plain data: cells with sizes, costs and runs, what levels change, what is to be expected."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from ..config.shared import OncePerObject
from ..errors import FAILURES, InputError
from ..plugins import reason
from ..store.planned_cell import PlannedCell
from ..store.results import RunResult

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig
    from ..grid.consequences import Quantity
    from ..grid.plan import Cell, Plan, Run, Tuning
    from ..model.counts import InferenceCost
    from ..store.runs import Store
    from ..tasks.base import Task


def describe(
    plan: "Plan",
    store: "Store",
    workers: int | None = None,
    step_seconds: "Mapping[str, float] | None" = None,
    inert: Sequence[str] = (),
    sees_later: Sequence[str] = (),
) -> dict[str, Any]:
    """The cells with their sizes, costs and finished runs, and what is to be expected, as plain data.

    Its ``cells`` are ``PlannedCell``, which ``dataclasses.asdict`` makes plain data.

    ``step_seconds`` are what ``study.forecast.probe`` measured, ``inert`` what ``study.inert.inert_cells`` found,
    ``sees_later`` what ``study.causality`` did.
    Errors: InputError, StorageError.
    """
    from .costs import Costs
    from .forecast import expected_power, expected_time
    from .manifest import compare_runs
    from .training import n_workers

    cells: list[PlannedCell] = []
    costs: dict[tuple[int, int], InferenceCost] = {}
    kept = Costs(store)
    built: OncePerObject[Any, Task] = OncePerObject(lambda task: task.build())
    found = dict(store.results(run.id for run in plan.runs))
    found |= {run.id: RunResult(run.id, "missing") for run in _not_tuned(plan)}
    first = _results_of_first(plan, store)
    for cell in plan.cells:
        config = cell.runs[0].config
        model = id(config.model), id(config.task)  # cells that have one in common share the object
        try:
            if model not in costs:
                costs[model] = kept.of(config, built(config.task))
        except FAILURES as error:
            raise InputError(f"model: {reason(error)} (cell {cell.label})") from error
        cost = costs[model]
        results = [found[run.id] for run in cell.runs]
        seconds = [result.training_seconds for result in results if result.training_seconds is not None]
        trained = trained_parameters(config, built(config.task))
        cells.append(
            PlannedCell(
                label=cell.label,
                parameters=cell.counts.parameters,
                flops_per_token=cost.flops_per_token,
                cache_bytes=cost.cache_bytes,
                cache_bytes_per_token=cost.cache_bytes_per_token,
                training_tokens=config.training_tokens,
                stops_early=config.training.early_stopping is not None,
                trained_parameters=trained,
                training_bytes=training_bytes(config, cell.counts.parameters, trained),
                states=_counted(tuple([result.status for result in results])),
                planned=len(results),
                finished=sum(result.ended for result in results),
                seconds_per_run=round(sum(seconds) / len(seconds), 1) if seconds else None,
            )
        )
    kept.save()
    flops = {cell.label: cell.flops_per_token * cell.training_tokens for cell in cells}
    time = expected_time(plan, {**first, **found}, flops, n_workers(plan, workers), step_seconds)
    power = None
    if plan.decided and any(result.ended for result in found.values()):
        power = expected_power(compare_runs(plan.manifest(), store), min(len(cell.runs) for cell in plan.cells))
    return {
        "grid": plan.name,
        "question": plan.grid.question,
        "metric": plan.metric,
        "time": None if time is None else time.as_dict(),
        "power": None if power is None else asdict(power),
        "inert": list(inert),
        "sees_later": list(sees_later),
        "timed": plan.timed,
        "design": plan.design(),
        "factors": {factor.path: plan.levels(factor) for factor in plan.grid.factors},
        "levels": list(_levels(plan, built, {cell.label: cell.flops_per_token for cell in cells})),
        "seeds": list(plan.seeds),
        "data": [dict(facts) for facts in plan.data],
        "matches": [(cell.label, asdict(cell.match)) for cell in plan.cells if cell.match is not None],
        "tuning": None if plan.tuning is None else _tuning(plan.tuning, store),
        "planned": sum(cell.planned for cell in cells),
        "finished": sum(cell.finished for cell in cells),
        "cells": cells,
    }


@cache
def _counted(states: tuple[str, ...]) -> Mapping[str, int]:
    return dict(Counter(states))  # one for all cells whose runs are in the same states


def _not_tuned(plan: "Plan") -> "list[Run]":
    """Those of cells whose tuning has not ended: with the values that it will choose they are others."""
    choices = {} if plan.tuning is None else plan.tuning.choices
    return [run for cell in plan.cells if cell.label in choices and not choices[cell.label].values for run in cell.runs]


def _results_of_first(plan: "Plan", store: "Store") -> dict[str, RunResult]:
    """Of the runs that tune the cells, and of controls."""
    from .controls import store_of

    results: dict[str, RunResult] = {}
    if plan.tuning is not None:
        results |= store.results(run.id for run in plan.tuning.plan.runs)
    if plan.controls is not None:
        results |= store_of(store, plan.name).results(run.id for run in plan.controls.runs)
    return results


def _tuning(tuning: "Tuning", store: "Store") -> dict[str, Any]:
    results = store.results(run.id for run in tuning.plan.runs)
    return {
        **tuning.manifest(),
        "planned": tuning.n_runs,
        "finished": sum(result.ended for result in results.values()),
    }


def _levels(plan: "Plan", built: "OncePerObject[Any, Task]", flops: "Mapping[str, int]") -> Iterator[dict[str, Any]]:
    """What each level changes beside its own path, and what follows from it, in the cell that changes least else."""
    from ..grid.consequences import Consequences, compare
    from ..grid.guard import Changes

    baseline, changes, consequences = plan.cells[0], Changes(plan.cells[0]), Consequences()

    def quantities(cell: "Cell") -> "Mapping[str, Quantity]":
        config = cell.runs[0].config
        found = consequences.of(config, built(config.task), cell.counts, cell.runs[0].measured_on)
        return {"parameters": found["parameters"], "FLOPs per token": flops[cell.label], **found}

    of_baseline = quantities(baseline)
    least: dict[tuple[str, str], tuple[list[str], Cell]] = {}
    for cell in plan.cells[1:]:
        changed = [path for path, level in cell.levels.items() if level is not baseline.levels[path]]
        for path in changed:
            at = path, cell.levels[path].label
            if at not in least or len(changed) < len(least[at][0]):
                least[at] = changed, cell
    for factor in plan.grid.factors:
        for level in factor.levels:
            if (factor.path, level.label) not in least:
                continue
            changed, cell = least[factor.path, level.label]
            others = [path for path in changed if path != factor.path and cell.levels[path].settings]
            of_others = {setting.path for path in others for setting in cell.levels[path].settings}
            yield {
                "factor": factor.path,
                "level": level.label,
                "changes": [
                    {"path": change.path, "before": change.before, "after": change.after, "declared": change.declared}
                    for change in changes.of(cell)
                    if not any(f"{change.path}.".startswith(f"{path}.") for path in of_others)
                ],
                "follows": [
                    {"what": each.what, "before": each.before, "after": each.after}
                    for each in ([] if others else compare(of_baseline, quantities(cell)))  # of this level alone
                ],
            }


def trained_parameters(config: "ExperimentConfig", task: "Task") -> int | None:
    """How many parameters are trained; None: all that there are."""
    from ..model.counts import build_to_count
    from ..model.trained import choose_and_count

    training = config.training
    if not training.freeze and training.lora is None:
        return None  # without building a model
    model = build_to_count(config.model, task.vocabulary, task.longest, task.n_classes)
    return choose_and_count(model, training.freeze, training.lora, config.seed)


def training_bytes(config: "ExperimentConfig", parameters: int, trained: int | None) -> int:
    """What training keeps of the parameters: weights and, of those trained, average, gradients, optimizer's state."""
    from ..model.size import Training

    numbers = 8 if config.training.precision == "64-true" else 4
    kept = config.optimizer.component.state_per_parameter + (config.training.ema_decay is not None)
    n_trained = parameters if trained is None else trained
    return int(Training(kept, numbers).n_bytes(n_trained, max(0, parameters - n_trained)))
