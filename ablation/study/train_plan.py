"""Training a plan to its comparison: look after look where there are several, with a mirror of all to W&B."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .causality import cells_that_see_later_tokens
from .continuing import shorter_runs
from .folder import name_in_file
from .last import save_last
from .looks import record_look
from .manifest import compare_runs, earlier_manifest, kept_looks, run_ids, save_plan
from .saved_plan import SavedPlan
from .sequential import SequentialPlan
from .start import with_start
from .summary import StudySummary
from .training import (
    INTERRUPT_SYNC_TIMEOUT,
    SYNC_TIMEOUT,
    How,
    MessageCallback,
    make_mirror,
    prepare_store,
    train_runs,
    with_end,
)
from .untrained import WorkCounter

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Plan, Run
    from ..store.runs import Store


class Trainable(Protocol):
    """What is needed of a ``Study`` to train its plans."""

    grid: Path
    store: "Store"
    settings: tuple[str, ...]
    seeds: int | None
    saved: SavedPlan | None

    def plan(self, until_decided: bool = False, again: "Plan | None" = None) -> "Plan": ...
    def save_tables(self, comparison: "Comparison") -> None: ...
    def publish(self, plan: "Plan", comparison: "Comparison", on_message: MessageCallback) -> None: ...


def train_plan(study: Trainable, whole: "Plan", how: How, looks: SequentialPlan | None, started: float) -> StudySummary:
    """Train what a plan lacks, look after look where there are several; first what its runs start from.

    ``started`` is a monotonic time. The plan is one of the study's grid, or of what that needs.
    """
    for parent in whole.parents:
        summary = train_plan(study, parent, how.first, None, started)
        if summary.interrupted:
            return summary
    on_message = how.on_message
    store, trained, executed, gave_up = study.store, set[str](), 0, False
    directory = store.grid_directory(whole.name)
    earlier = earlier_manifest(directory)
    planned = (earlier or {}).get("interim_looks")
    if planned and not kept_looks(whole, earlier):
        seeds = ", ".join(map(str, planned))
        on_message(f"The interim looks at {seeds} seeds were planned for cells that {study.grid} no longer has.")
    if whole.plugins and (not_causal := cells_that_see_later_tokens(whole)):
        on_message(f"Tokens are predicted from later ones in {'; '.join(not_causal)}: the loss says nothing there.")
    mirror, timeout = make_mirror(whole, store, on_message), INTERRUPT_SYNC_TIMEOUT
    with store.lock():
        for line in prepare_store(store, whole, how.retry):
            on_message(line)
        mirror.start()
        try:
            while True:
                plan = whole if looks is None else looks.plan
                counter = WorkCounter(plan, store)
                listed = _listed(study, plan)
                ends = store.ends(run.id for run in listed)
                missing = [run for run in store.to_train(listed, how.retry, ends) if run.id not in trained]
                missing, waiting = with_start(missing, store)
                if waiting:
                    on_message(waiting)
                shorter, reasons = shorter_runs(missing, earlier, store)
                for reason in reasons:
                    on_message(reason)
                kept = {run_id: directory.name for run_id, directory in shorter.items()}
                if missing:  # for `ablate status` meanwhile, and for the next command
                    save_plan(plan, store, counter.work, study.settings, kept)
                trained |= {run.id for run in missing}
                runs = train_runs(plan, store, missing, with_end(missing, ends), counter, how, shorter)
                executed += runs.executed
                gave_up = gave_up or runs.gave_up is not None
                work = counter.work if runs.interrupted else counter.finish()
                kept = kept if runs.executed < len(missing) else {}
                manifest = save_plan(plan, store, work, study.settings, kept)
                comparison = compare_runs(manifest, store)
                if (
                    looks is None
                    or runs.interrupted
                    or gave_up
                    or not looks.go_on(comparison, len(trained), on_message)
                ):
                    break
            study.save_tables(comparison)
            how.on_comparison(comparison)
            if not runs.interrupted:
                timeout = SYNC_TIMEOUT
        finally:
            mirror.close(timeout)
        tracking = mirror.summary()
        others = earlier is None or run_ids(earlier) != run_ids(manifest)  # than in the summary that was written last
        if (executed or others) and not runs.interrupted and not runs.left:
            study.publish(whole, comparison, on_message)
        record_look(comparison, directory)
        last = None
        of_the_file = Path(plan.grid.document.file).resolve() == study.grid.resolve()
        own = plan.name == name_in_file(study.grid)  # no replication, no parent
        if looks is None and of_the_file and own and plan.controls is None:  # of controls it would know nothing
            at = time.time() - (time.monotonic() - started)
            last = save_last(plan, comparison, store, study.settings, study.seeds, tracking, at)
    return StudySummary.of_training(
        comparison,
        n_trained=len(trained),
        n_left_out=len(plan.runs) - len(_listed(study, plan)),
        executed=executed,
        interrupted=runs.interrupted,
        directory=directory,
        tracking=tracking,
        started=started,
        last=last,
    )


def _listed(study: Trainable, plan: "Plan") -> "list[Run]":
    """Those that are to be trained: of a saved plan the runs in it, of what comes before them all."""
    if study.saved is None or plan.name != name_in_file(study.grid):
        return plan.runs
    return [run for run in plan.runs if run.id in study.saved.runs]
