"""What ``ablate sync`` does: all runs replayed into W&B, then read back and compared with those on disk."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from ..store.results import FINISHED
from ..store.runs import Store
from .manifest import compare_runs
from .training import ONLY_SYNC_TIMEOUT, MessageCallback, make_mirror

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.plan import Plan


@dataclass(frozen=True)
class SyncSummary:
    """Where the runs are in W&B, in one line, and what was found there."""

    line: str
    complete: int
    """Runs whose rows and summary were read back and are all there."""
    incomplete: Mapping[str, str]
    """What the others lack, by the run's id."""


def sync_runs(
    plan: "Plan", store: Store, publish: "Callable[[Comparison], None]", on_message: MessageCallback
) -> SyncSummary:
    """Replay all runs of a plan and read them back; ``publish`` writes the grid's summary. Sends nothing twice.

    Errors: InputError where W&B is off.
    """
    from ..tracking.mode import resolve_mode
    from ..tracking.verify import verify

    tracking = plan.runs[0].config.tracking
    mode = resolve_mode(tracking.mode, os.environ)
    if mode.mode == "disabled":
        why = mode.reason or f"tracking.mode: {tracking.mode}"
        raise InputError(f"W&B is off ({why}); --set tracking.mode=offline or =online turns it on")
    with store.lock():
        mirror = make_mirror(plan, store, on_message)
        mirror.start()
        mirror.close(ONLY_SYNC_TIMEOUT)
        ends = store.ends(run.id for run in plan.runs).values()
        if plan.decided and any(end.status in FINISHED for end in ends):
            publish(compare_runs(plan.manifest(), store))
        found = verify(mirror.tracked, store.root, tracking.project, mode, on_message, tracking.entity)
    line = f"{mirror.summary()}; {found.sentence}" if found.sentence else mirror.summary()
    return SyncSummary(line, found.complete, found.incomplete)
