"""Running a claim: what it needs is trained, probed and timed, and its expectations are tested."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ..compare.claim import ClaimResult, check_cells, test_claim
from ..errors import InputError
from . import claim as rules
from .inspection import measure_inside
from .manifest import compare_runs, load_plan, save_plan
from .summary import StudySummary
from .train_plan import Trainable, train_plan
from .training import How, MessageCallback
from .untrained import measure_probes, measure_timings, names_of_trained


class Claiming(Trainable, Protocol):
    """What is needed of a ``Study`` here."""

    plugins: tuple[Path, ...]

    def own_folder(self, on_message: MessageCallback) -> None: ...


def run_claim(study: Claiming, how: How, fresh: int | None) -> tuple[ClaimResult | None, StudySummary | None]:
    """What ``Study.claim`` does."""
    started = time.monotonic()
    study.own_folder(how.on_message)
    plan = study.plan()
    claim = plan.grid.config.claim
    if claim is None:
        what = "claim: is missing; `statement`, `source` and `expect` say what the grid should show"
        raise InputError(f"{study.grid}: {what}")
    expected = claim.model_dump(mode="json")
    untrained = compare_runs(plan.manifest(), study.store)
    check_cells(expected, untrained)
    measures = {expectation[key] for expectation in expected["expect"] for key in ("measure", "than_measure")}
    names = sorted(measures - {None})
    trained = names_of_trained(names)
    rules.refuse_broken_rules(plan, untrained, trained)
    if fresh is not None:
        adapt = partial(rules.fresh_grid, seed=fresh)
        plan = load_plan(study.grid, study.settings, None, study.plugins, adapt=adapt, store=study.store)
    probes = measure_probes(plan, names)
    timings = measure_timings(plan, names)
    summary = None
    if trained:
        summary = train_plan(study, plan, how, None, started)
        if summary.interrupted:
            return None, summary
        comparison = summary.comparison
    else:
        comparison = compare_runs(save_plan(plan, study.store, settings=study.settings), study.store)
    inside = measure_inside(plan, study.store, names, study.plugins)
    result = test_claim(expected, comparison, probes, timings, inside)
    with study.store.lock():
        earlier = rules.record_answer(study.store, plan, result)
    unlike = rules.unlike_earlier(plan, result, earlier, fresh, of_the_file=not study.settings)
    result = replace(result, notes=(*unlike, *rules.notes(plan, comparison, trained)))
    if fresh is not None and not study.settings:
        how.on_message(f"For `replications` in {study.grid}: {rules.replication_entry(plan, result, fresh)}")
    return result, summary
