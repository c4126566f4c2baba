"""Training the missing runs of a plan on this machine, with a mirror to W&B and a listener to its progress."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..grid.plan import Plan, Run
    from ..launch.local import LocalLauncher
    from ..launch.queue import RunListener, RunSummary
    from ..store.runs import Store
    from ..tracking.mirror import Mirror

Listener = Callable[["Plan", "Store", int, int], AbstractContextManager["RunListener"]]
"""Called before training with the plan, the store, the number of runs to train and of those at once. Returns a context
manager for the time of training, whose ``RunListener`` receives every event; the class ``report.live.View`` is one."""

MessageCallback = Callable[[str], None]
"""Is called with one line for the user, which is no result: what was decided at a look, what went wrong with W&B."""

SYNC_TIMEOUT = 60.0
"""Seconds that W&B is given after the last run; `ablate sync` sends the rest."""
INTERRUPT_SYNC_TIMEOUT = 5.0
"""The same after Ctrl-C."""
ONLY_SYNC_TIMEOUT = 24 * 3600.0
"""The same of ``ablate sync``: a large grid over a slow line takes long, and Ctrl-C ends it without harm."""


def train_runs(
    plan: "Plan",
    store: "Store",
    missing: "Sequence[Run]",
    workers: int | None,
    counter: "RunListener",
    listener: Listener | None,
    on_message: MessageCallback,
) -> "tuple[RunSummary, str]":
    """Train ``missing`` and mirror all runs of the plan; returns how they ended, and a line that says where W&B is.

    ``workers`` None: see ``make_launcher``. ``counter`` receives the same events as ``listener``.
    """
    from ..launch.queue import RunSummary, run_queue

    summary, timeout = RunSummary(), INTERRUPT_SYNC_TIMEOUT
    mirror = make_mirror(plan, store, on_message)
    mirror.start()
    try:
        if missing:
            launcher = make_launcher(plan, workers)
            if listener is None:
                summary = run_queue(missing, store, launcher, [counter], plan.plugins)
            else:
                with listener(plan, store, len(missing), launcher.workers) as view:
                    summary = run_queue(missing, store, launcher, [view, counter], plan.plugins)
        if not summary.interrupted:
            timeout = SYNC_TIMEOUT
    finally:
        mirror.close(timeout)
    return summary, mirror.summary()


def make_launcher(plan: "Plan", workers: int | None) -> "LocalLauncher":
    """Local processes: by default one per accelerator where runs use them, else cores by the threads of a run."""
    import torch

    from ..launch.local import LocalLauncher, available_cores, available_gpus

    trainings = [cell.runs[0].config.training for cell in plan.cells]
    devices = {training.device for training in trainings}
    gpus = available_gpus() if devices & {"auto", "cuda"} else []
    on_mps = not gpus and bool(devices & {"auto", "mps"}) and torch.backends.mps.is_available()
    by_cores = max(1, available_cores() // max(training.threads for training in trainings))
    return LocalLauncher(workers or len(gpus) or (1 if on_mps else by_cores), gpus)


def make_mirror(plan: "Plan", store: "Store", on_message: MessageCallback) -> "Mirror":
    """The mirror to W&B of all runs of the plan, those of earlier commands as well."""
    from ..config.layered import dump
    from ..tracking.mirror import Mirror
    from ..tracking.mode import resolve_mode
    from ..tracking.session import TrackedRun

    names = {factor.path: factor.name for factor in plan.grid.factors}
    tracked = [
        TrackedRun(
            id=run.id,
            directory=store.directory(run.id),
            name=f"{cell.label} seed={run.seed}",
            group=cell.label,
            tags=(plan.name,),
            config=dump(run.config),
            factors={names[path]: level.plain for path, level in cell.levels.items()},
        )
        for cell in plan.cells
        for run in cell.runs
    ]
    tracking = plan.runs[0].config.tracking
    mode = resolve_mode(tracking.mode, os.environ)
    return Mirror(tracked, store.root, tracking.project, mode, on_message)
