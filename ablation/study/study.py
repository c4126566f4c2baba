"""Study: a grid from its file to its comparison.

``ablation.Study`` (see ``ablation.api``) adds what renders. Nothing here prints: progress goes to a listener and lines
for the user to a callback. What a method needs is imported when it is called, so that a table waits for no torch.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.bundled import GRIDS, find
from ..errors import InputError, whole_number
from ..names import reason_no_folder
from ..store.lock import refuse_if_held, unshared_locks
from ..store.results import LEFT_ALONE
from ..store.runs import Store
from .beforehand import match_time, train_controls, tune
from .folder import grids_in, name_in_file, owner, take_folder
from .last import read_last
from .looks import record_look
from .manifest import (
    Manifest,
    compare_runs,
    earlier_manifest,
    load_manifest,
    load_plan,
    run_ids,
)
from .saved_plan import ENDING, SavedPlan
from .saved_plan import read as read_saved_plan
from .sequential import SequentialPlan
from .status import Snapshot, take_snapshot
from .summary import StudySummary
from .syncing import SyncSummary, sync_runs
from .train_plan import train_plan
from .training import (
    ComparisonCallback,
    How,
    Listener,
    MessageCallback,
    ignore,
    retries,
)

if TYPE_CHECKING:
    from ..bench.processes import BenchListener
    from ..compare.claim import ClaimResult
    from ..compare.records import Comparison
    from ..grid.plan import Plan
    from ..launch.engine import Engine


_SURROGATES = re.compile(r"\\ud[89ab]..\\ud[c-f]..")


def _as_typed(value: Any) -> str:
    """A value as it would be typed after ``--set path=``: JSON, but for its pairs of surrogates, which YAML refuses."""
    return _SURROGATES.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), json.dumps(value))


class Study:
    """A grid file, values that replace its own, and the directory of its runs.

    The file is read anew by every method. Their errors: InputError for what is wrong in it, in one line; StorageError
    where the runs cannot be read or written; Locked where another command trains into the same ``runs``.

    Args:
        grid: the grid's file, a plan that was saved, or the name of a grid or claim that comes with the package; for
            what only reads, the name of a grid in ``runs`` comes first.
        set: values for every cell, by their paths, or as ``path=value``.
        seeds: how many replicates, instead of the file's.
        plugins: Python files that register components.
        runs: the directory where runs are kept.
        launcher: where runs are trained: a registered name such as "local" or "slurm", or a file with its settings.
    """

    def __init__(
        self,
        grid: str | Path,
        set: Mapping[str, Any] | Sequence[str] = (),
        seeds: int | None = None,
        plugins: Sequence[str | Path] = (),
        runs: str | Path = "runs",
        launcher: str | Path = "local",
    ):
        self.given, self.launcher, self.store = Path(grid), str(launcher), Store(Path(runs))
        stored = [] if self.given.is_file() else grids_in(self.store)
        self.by_name = str(self.given) in stored
        """Whether it was given the name of a grid in ``runs``, which is what is read."""
        self.grid = find(self.given, GRIDS, others=stored)
        self.settings = tuple(
            [f"{path}={_as_typed(value)}" for path, value in set.items()] if isinstance(set, Mapping) else set
        )
        self.seeds = whole_number("--seeds", seeds)
        self.saved: SavedPlan | None = None
        if self.grid.suffix == ENDING:
            if self.settings or seeds is not None:
                option = "set" if self.settings else "seeds"
                raise InputError(f"--{option}: {grid} is a saved plan, which fixes this; remove the option")
            self.saved = read_saved_plan(self.grid)
            self.grid, self.settings, self.seeds = self.saved.grid, self.saved.settings, self.saved.seeds
        self.plugins = tuple(Path(plugin) for plugin in plugins)

    def plan(self, until_decided: bool = False, again: "Plan | None" = None) -> "Plan":
        """All cells and runs, checked; ``until_decided``: with the seeds of the last planned look. Trains nothing.

        ``again`` is a plan of before something was tuned or timed: its files are taken as they were then.
        """
        plan = load_plan(
            self.grid, self.settings, self.seeds, self.plugins, until_decided, store=self.store, again=again
        )
        if self.saved is not None:
            self.saved.check(plan)
        return plan

    def plan_of_last_run(self) -> "Plan":
        """The plan of what the last ``run`` compared, with its settings and seeds; as ``plan`` where there was none.

        Errors: InputError where the study was given by name and the file that it was run from is gone.
        """
        manifest = self.manifest
        if "sources" not in manifest:  # planned anew
            return self.plan()
        file = self.store.root / manifest.get("file", "") if self.by_name else self.grid
        if not file.is_file():
            raise InputError(f"{self.given}: the file that it was run from is not there; name the grid's file")
        settings = manifest.get("settings", ())
        return load_plan(file, settings, len(manifest["seeds"]), self.plugins, store=self.store)

    def save_plan(self, plan: "Plan", file: Path) -> int:
        """Write a plan as a file that ``Study`` takes; returns the number of its runs. Errors: InputError."""
        from .saved_plan import save

        return save(plan, file, self.settings, self.seeds)

    @property
    def manifest(self) -> Manifest:
        """What the last ``run`` compared; planned anew where there was none or it was of other files or settings."""
        file = self.given if self.by_name else self.grid
        return load_manifest(file, self.store, self.plugins, self.settings, self.seeds)

    def compare(self, metric: str | None = None) -> "Comparison":
        """The cells compared as far as their runs are trained; ``metric``: by another than the grid's own.

        It counts as a look at the grid: see ``Comparison.seen``.
        """
        manifest = self.manifest
        comparison = compare_runs(manifest, self.store, metric)
        saved = None if self.by_name else earlier_manifest(self.store.root / manifest["grid"])
        if saved is None or owner(self.grid, saved, self.store) is None:
            record_look(comparison, self.store.grid_directory(manifest["grid"]))
        return comparison

    def own_folder(self, on_message: MessageCallback = ignore) -> None:
        """Make sure that the folder of the grid in ``runs`` is not another grid file's. Errors: InputError."""
        name = name_in_file(self.grid) if self.grid.is_file() else None
        manifest = None if name is None else earlier_manifest(self.store.root / name)
        if manifest is not None and (sentence := take_folder(self.grid, manifest, self.store)):
            on_message(sentence)

    def status(self) -> Snapshot:
        """How far the runs are, and their losses so far at equal tokens."""
        return take_snapshot(self.manifest, self.store)

    def run(
        self,
        workers: int | None = None,
        retry: str | Sequence[str] = (),
        until_decided: bool = False,
        budget: int | None = None,
        listener: Listener | None = None,
        on_message: MessageCallback = ignore,
        keep_going: bool = False,
        detach: bool = False,
        on_comparison: ComparisonCallback = ignore,
    ) -> StudySummary:
        """Train what is missing. Ctrl-C stops; the same call goes on.

        Args:
            workers: runs at once; by default the cores, or the GPUs.
            retry: what to train again, of "failed", "oom", "diverged" and "stale_code".
            until_decided: add seeds at the grid's planned interim looks, only to cells whose verdict is inconclusive.
            budget: with ``until_decided``, how many runs may be trained in all; the first look is trained anyway.
            listener: see ``Listener``.
            on_message: is called with each line for the user.
            keep_going: train the other runs also where the first three that ended failed alike.
            detach: leave the runs to the launcher, such as Slurm; the same call without it waits for them.
            on_comparison: is called with what came out, before W&B has everything; not where nothing has changed.

        Errors: InputError for what cannot be trained so; StorageError; Locked where another command trains here.
        """
        started = time.monotonic()
        workers, budget = whole_number("--workers", workers), whole_number("--budget", budget)
        retry = retries(retry)
        if until_decided and self.saved is not None:
            raise InputError(f"--until-decided: chooses the seeds, which {self.saved.file} already fixes; remove it")
        if until_decided and self.seeds is not None:
            most = "the last of the grid's `interim_looks` is the largest number"
            raise InputError(f"--seeds: --until-decided chooses them; {most}")
        if budget is not None and not until_decided:
            raise InputError("--budget: bounds --until-decided only; add it")
        refuse_if_held(self.store.root)
        engine = self._engine(workers, detach, until_decided)
        how = How(workers, retry, listener, on_message, keep_going, engine, detach, on_comparison)
        if (
            not retry
            and not until_decided
            and self.saved is None
            and (summary := self._unchanged(on_message, started)) is not None
        ):
            return summary
        from ..launch.local import LocalLauncher

        self.own_folder(on_message)
        with LocalLauncher.stop_server_on_error():
            if how.engine is None and self._some_missing():
                LocalLauncher.warm_up()  # the server imports while this process plans
            plan = self.plan(until_decided)
            if detach and (plan.controls is not None or plan.parents):
                raise InputError("--detach: what this grid trains first has to be waited for; train it without")
            plan = match_time(self, plan, until_decided, how)
            plan, interrupted = tune(self, plan, until_decided, how)
        interrupted = interrupted or train_controls(self, plan, how, started)
        if interrupted is not None:
            return interrupted
        return train_plan(self, plan, how, SequentialPlan(plan, budget) if until_decided else None, started)

    def _engine(self, workers: int | None, detach: bool, until_decided: bool) -> "Engine | None":
        """Where to train; None: here. Errors: InputError."""
        if self.launcher == "local" and not detach:
            return None  # without importing others
        from ..launch.choice import engine_of
        from ..launch.engine import Local
        from ..plugins import load_plugins

        load_plugins(self.plugins)  # of which one may be the engine's
        engine = engine_of(self.launcher)
        if workers is not None and not isinstance(engine, Local):
            what = "says how many runs this machine trains at once; for other launchers set `at_once` in their file"
            raise InputError(f"--workers: {what}")
        if workers is not None:
            engine = Local(workers=workers)
        if detach and not engine.can_detach:
            raise InputError(f"--detach: runs of the launcher {self.launcher!r} end with the command")
        if detach and until_decided:
            raise InputError("--detach: --until-decided has to wait for each look; use one of the two")
        return engine

    def claim(
        self,
        workers: int | None = None,
        listener: Listener | None = None,
        on_message: MessageCallback = ignore,
        fresh: int | None = None,
        retry: str | Sequence[str] = (),
    ) -> "tuple[ClaimResult | None, StudySummary | None]":
        """Train what the claim in the grid's file needs and test it; without a result where that was interrupted.

        With ``fresh``, on as many other seeds, which are derived from it: a replication, in a folder of its own.
        ``retry`` is as in ``run``. The summary is None where nothing but models that nobody trains is measured. Errors:
        InputError also where the file breaks a rule of ``study.claim``; ``ProcessError`` where something is timed.
        """
        from .run_claim import run_claim

        how = How(whole_number("--workers", workers), retries(retry), listener, on_message)
        return run_claim(self, how, fresh)

    def bench(
        self,
        kinds: Sequence[str] = ("training_step", "prefill", "decode"),
        lengths: Sequence[int] = (512, 2048),
        rounds: int = 10,
        processes: int = 5,
        seed: int = 0,
        listener: "BenchListener | None" = None,
    ) -> dict[str, Any]:
        """Time the cells interleaved, apart from training; writes bench.json, which ``compare`` reads, and returns it.

        ``seed`` is of the order in each round, which no measure depends on. Errors: also ``ProcessError``.
        """
        from .timing import time_cells

        refuse_if_held(self.store.root)
        self.own_folder()
        plan = load_plan(self.grid, self.settings, 1, self.plugins, store=self.store)
        with self.store.lock():
            return time_cells(plan, self.store, kinds, lengths, rounds, processes, seed, listener)

    def sync(self, on_message: MessageCallback = ignore) -> SyncSummary:
        """Replay all runs into W&B, and read back what arrived. Sends nothing twice."""
        plan = self.plan_of_last_run()
        return sync_runs(plan, self.store, lambda comparison: self.publish(plan, comparison, on_message), on_message)

    def save_tables(self, comparison: "Comparison") -> None:
        """Called after every training, while the store is locked; ``ablation.Study`` writes the tables here."""

    def publish(self, plan: "Plan", comparison: "Comparison", on_message: MessageCallback) -> None:
        """Called after tables were saved; ``ablation.Study`` writes the grid's summary into W&B here."""

    def _unchanged(self, on_message: MessageCallback, started: float) -> StudySummary | None:
        """The answer of the last run where nothing has changed since; None where something may have."""
        name = name_in_file(self.grid)
        if self.plugins or name is None or reason_no_folder(name) is not None:
            return None
        last = read_last(self.grid, name, self.store, self.settings, self.seeds)
        if last is None:
            return None
        if (warning := unshared_locks(self.store.root)) is not None:
            on_message(warning)
        return StudySummary.of_last(name, last, lambda: compare_runs(self.manifest, self.store), started)

    def _some_missing(self) -> bool:
        """Whether there seems to be something to train: a guess by the last manifest, ahead of planning."""
        name = name_in_file(self.grid)
        saved = None if name is None else earlier_manifest(self.store.root / name)
        try:
            return saved is None or any(
                end.status not in LEFT_ALONE for end in self.store.ends(run_ids(saved)).values()
            )
        except (KeyError, TypeError):  # damaged: it is written anew
            return True
