"""Training the missing runs of a plan, with a listener to its progress; and the mirror of runs to W&B."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import InputError, nearest
from ..store.lock import unshared_locks
from ..store.results import LEFT_ALONE, RETRIES

if TYPE_CHECKING:
    from pathlib import Path

    from ..compare.records import Comparison
    from ..grid.plan import Plan, Run
    from ..launch.engine import Engine, Place
    from ..launch.queue import RunListener, RunSummary
    from ..store.results import RunEnd
    from ..store.runs import Store
    from ..tracking.mirror import Mirror
    from ..tracking.session import TrackedRun

Listener = Callable[["Plan", "Store", int, int], AbstractContextManager["RunListener"]]
"""Called before training with the plan, the store, the number of runs to train and of those at once. Returns a context
manager for the time of training, whose ``RunListener`` receives every event; the class ``report.live.View`` is one."""

MessageCallback = Callable[[str], None]
"""Is called with one line for the user, which is no result: what was decided at a look, what went wrong with W&B."""


ComparisonCallback = Callable[["Comparison"], None]
"""Is called with what came out of a training."""


def ignore(message: object) -> None:
    """Drop a line for the user, or what came out."""


@dataclass(frozen=True)
class How:
    """How runs are trained, for all of a command."""

    workers: int | None = None
    """Runs at once; None: see ``n_workers``."""
    retry: Sequence[str] = ()
    """What is trained again; see ``store.results.RETRIES``."""
    listener: Listener | None = None
    on_message: MessageCallback = ignore
    keep_going: bool = False
    """Whether the others are trained where the first three that ended failed alike."""
    engine: "Engine | None" = None
    """Who trains; None: this machine."""
    detach: bool = False
    """Whether runs are handed over to the engine and left to it."""
    on_comparison: ComparisonCallback = ignore
    """Is called with what came out, before W&B has everything."""

    @property
    def first(self) -> "How":
        """The same for what is trained before, which is waited for."""
        return replace(self, detach=False, on_comparison=ignore)


def retries(words: str | Sequence[str]) -> Sequence[str]:
    """What is trained again, of ``store.results.RETRIES``. Errors: InputError."""
    words = [words] if isinstance(words, str) else words
    for word in words:
        if word not in RETRIES:
            raise InputError(f"--retry {word}: not known; allowed: {', '.join(RETRIES)}{nearest(word, RETRIES)}")
    return words


SYNC_TIMEOUT = 60.0
"""Seconds that W&B is given after the last run; `ablate sync` sends the rest."""
INTERRUPT_SYNC_TIMEOUT = 5.0
"""The same after Ctrl-C."""
ONLY_SYNC_TIMEOUT = 24 * 3600.0
"""The same of ``ablate sync``: a large grid over a slow line takes long, and Ctrl-C ends it without harm."""


MOST_FAILURES = 3
"""Kinds of earlier failures that are listed."""


def prepare_store(store: "Store", plan: "Plan", retry: Sequence[str]) -> Iterator[str]:
    """Bring the runs of a plan into a state to go on from, while the store is locked; yields lines for the user.

    Attempts that had come to an end are finished, damaged runs are moved aside, and what failed before and is not tried
    again is named.
    """
    if (warning := unshared_locks(store.root)) is not None:
        yield warning
    for attempt in store.finish_attempts():
        yield conflict(store, attempt)
    ends = store.ends(run.id for run in plan.runs)
    yield from store.set_damaged_aside(ends)
    trained = {run.id for run in store.to_train(plan.runs, retry, ends)}
    failed: dict[tuple[str, str | None], list[str]] = {}
    for run_id, end in ends.items():
        if end.status in ("failed", "oom") and run_id not in trained:
            failed.setdefault((end.status, end.reason), []).append(run_id)
    for (status, reason), runs in list(failed.items())[:MOST_FAILURES]:
        at, log = store.failed_at(runs[0])
        place = f" in {at}" if at else ""
        again = f"--retry {status} tries them again"
        yield f"{len(runs)} of {len(ends)} runs {status}: {reason}{place}; log: {log}; {again}"


def conflict(store: "Store", attempt: str) -> str:
    """What is said of an attempt that came later than another one and to other numbers."""
    return (
        f"{store.root}/store/conflicts/{attempt}: trained with other numbers than the run that was there before it; "
        "the first one counts"
    )


def with_end(missing: "Sequence[Run]", ends: "Mapping[str, RunEnd]") -> set[str]:
    """The ids of those runs that have an end, and are to be trained all the same."""
    return {run.id for run in missing if ends[run.id].status in LEFT_ALONE}


def train_runs(
    plan: "Plan",
    store: "Store",
    missing: "Sequence[Run]",
    replaced: Collection[str],
    counter: "RunListener",
    how: "How",
    shorter: Mapping[str, "Path"] = MappingProxyType({}),
) -> "RunSummary":
    """Train ``missing``; returns how they ended.

    Those in ``replaced``, by their ids, have an end and are trained all the same. ``counter`` receives the same events
    as the listener. ``shorter`` are the directories of finished runs that some go on from, by their ids.
    """
    from ..launch.engine import Local
    from ..launch.queue import RunSummary, run_queue

    summary, on_message = RunSummary(), how.on_message
    if not missing:
        return summary
    launcher = (how.engine or Local()).open(make_place(plan, missing, store, how.workers, on_message))
    store.probe()
    plugins = store.keep_plugins(plan.plugins, plan.name)
    with contextlib.ExitStack() as views:
        listeners = [counter]
        if how.listener is not None:
            view = how.listener(plan, store, len(missing), launcher.workers)
            listeners.insert(0, views.enter_context(view))
        summary = run_queue(missing, store, launcher, listeners, plugins, how.keep_going, shorter, how.detach, replaced)
    for attempt in summary.conflicts:
        on_message(conflict(store, attempt))
    for line in (summary.gave_up or "").splitlines():
        on_message(line)
    return summary


def make_place(
    plan: "Plan", missing: "Sequence[Run]", store: "Store", workers: int | None, on_message: MessageCallback
) -> "Place":
    """What a launcher is opened for."""
    from ..launch.engine import Place

    trainings = [cell.runs[0].config.training for cell in plan.cells]
    cores, ranks = (max(sizes) for sizes in zip(*((each.cores, each.ranks) for each in trainings), strict=True))
    return Place(
        store.root,
        plan.name,
        n_workers(plan, workers),
        gpus_of(plan),
        ranks,
        cores,
        on_message,
        devices_of(plan),
        gpu_only(missing),
    )


def n_workers(plan: "Plan", workers: int | None = None) -> int:
    """How many runs train at once here: one per accelerator where runs use them, else cores by the threads of a run."""
    from ..launch.local import available_cores, has_mps, in_groups

    if workers is not None:
        return workers
    trainings = [cell.runs[0].config.training for cell in plan.cells]
    gpus = gpus_of(plan)
    on_mps = not gpus and bool(devices_of(plan) & {"auto", "mps"}) and has_mps()
    by_cores = max(1, available_cores() // max(training.cores for training in trainings))
    groups = in_groups(gpus, max(training.ranks for training in trainings))
    return len(groups) or (1 if on_mps else by_cores)


def gpus_of(plan: "Plan") -> "list[str]":
    """The GPUs of this machine on which its runs may train."""
    from ..launch.local import available_gpus

    return available_gpus() if devices_of(plan) & {"auto", "cuda"} else []


def devices_of(plan: "Plan") -> set[str]:
    """What its runs ask for as ``training.device``."""
    return {cell.runs[0].config.training.device for cell in plan.cells}


def gpu_only(runs: "Sequence[Run]") -> list[str]:
    """The components of their models that do not train on a CPU, in words, each once."""
    models = {id(run.config.model): run.config.model for run in runs}
    found = (component for model in models.values() for component in model.components())
    return [*dict.fromkeys(f"{each.slot} {each.name}" for each in found if not each.trains_on_cpu)]


def make_mirror(plan: "Plan", store: "Store", on_message: MessageCallback) -> "Mirror":
    """The mirror to W&B of all runs of the plan, those of earlier commands as well."""
    from ..tracking.mirror import Mirror
    from ..tracking.mode import resolve_mode

    tracking = plan.runs[0].config.tracking
    mode = resolve_mode(tracking.mode, os.environ)
    tracked = tracked_runs(plan, store) if mode.mode != "disabled" else []
    return Mirror(tracked, store, tracking.project, mode, on_message, tracking.entity)


def tracked_runs(plan: "Plan", store: "Store") -> "list[TrackedRun]":
    """All runs of the plan, as W&B gets them."""
    from ..config.layered import dump
    from ..tracking.session import TrackedRun

    tracking = plan.runs[0].config.tracking
    names = {factor.path: factor.name for factor in plan.grid.factors}
    return [
        TrackedRun(
            id=run.id,
            directory=store.directory(run.id),
            name=f"{cell.label} seed={run.seed}",
            group=f"{plan.name}: {cell.label}",
            tags=(plan.name, *tracking.tags),
            config=dump(run.config),
            factors={names[path]: level.plain for path, level in cell.levels.items()},
            grid=plan.name,
            cell=cell.label,
            notes=tracking.notes,
        )
        for cell in plan.cells
        for run in cell.runs
    ]
