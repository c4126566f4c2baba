"""The store: the runs on disk, read, ordered and brought to their end.

Whatever needs torch is imported where a run is ordered.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, StorageError
from ..names import reason_no_folder
from .aside import last_aside, set_aside
from .attempts import (
    LOG,
    Commit,
    Ended,
    Order,
    attempts_of,
    commit,
    finish,
    give_up,
    has_end,
    is_at_work,
    is_running,
    remove,
)
from .checkpoints import CHECKPOINT, furthest
from .code import code_version
from .files import replacing, unwritable, write_json
from .listing import is_listed
from .lock import hold
from .probe import probe
from .results import (
    KILLED,
    LEFT_ALONE,
    SCHEMA,
    WEIGHTS,
    RunEnd,
    read_record,
)
from .stored_runs import StoredRuns
from .verify import verify_run

if TYPE_CHECKING:
    from ..grid.plan import Run
    from ..plugins import Plugin


class Store(StoredRuns):
    """``runs/``: one directory per run under ``store/``, one per grid beside it.

    ``directory`` and ``grid_directory`` are the only places that know these paths; ``attempts`` has those of runs that
    are being trained.
    """

    def __init__(self, root: Path, starts: "Store | None" = None):
        """``starts``: the store of the runs that these start from, where it is another one."""
        super().__init__(root)
        self.starts = starts or self

    def grid_directory(self, name: str) -> Path:
        """Errors: InputError where no grid can have that name, or another one differs from it in letter case alone."""
        if what := reason_no_folder(name):
            raise InputError(f"name: {what}")
        directory = self.root / name
        if not directory.exists() and (other := self._folder_alike(name)):
            what = f"{name!r} differs from the grid {other!r} in {self.root} in letter case alone"
            raise InputError(f"name: {what}, which is one folder elsewhere; choose another name")
        return directory

    def _folder_alike(self, name: str) -> str | None:
        try:
            others = [folder.name for folder in self.root.iterdir()]
        except OSError:
            return None
        return next((other for other in others if other != name and other.casefold() == name.casefold()), None)

    def lock(self) -> AbstractContextManager[None]:
        """One driver at a time. Errors: Locked, StorageError."""
        return hold(self.root)

    def probe(self) -> None:
        """Make sure that runs can be finished here. Errors: StorageError."""
        probe(self._runs)

    def has_stale_code(self, run: "Run") -> bool:
        """Whether the run was trained by other code than today's."""
        trained = read_record(self.directory(run.id) / "run.json", run.id)
        return trained is not None and trained.get("code") != code_version(run.config)

    def to_train(
        self, runs: "Sequence[Run]", retry: Sequence[str] = (), ends: Mapping[str, RunEnd] | None = None
    ) -> "list[Run]":
        """Those that have no result yet, and those that ``retry`` names: words of ``RETRIES``.

        A run that failed is tried again by itself where the code or a plugin has changed since; other data are another
        run. ``ends`` are those of the runs, where they are known.
        """
        selected = []
        ends = self.ends(run.id for run in runs) if ends is None else ends
        for run in runs:
            status = ends[run.id].status
            by_code = status in ("failed", "oom") or "stale_code" in retry
            if status not in LEFT_ALONE or status in retry or (by_code and self.has_stale_code(run)):
                selected.append(run)
        return selected

    def finish_attempts(self) -> list[str]:
        """Make runs of the attempts whose processes were killed between their last file and the rename.

        Orders that a command had no time to take back are removed, and files that it was writing. Returns the names of
        attempts that are in conflict with a run. To be called while the lock is held. Errors: StorageError.
        """
        attempts = self.attempts()
        ended = [one for one in chain.from_iterable(attempts.values()) if has_end(one)]
        conflicts = [attempt.name for attempt in ended if finish(attempt) == "conflict"]
        ordered = [order.name for order in (self._runs / "orders").glob("*")]
        for run_id in self.directories([*ordered, *attempts]):
            self.conclude(run_id)
        for folder in ("", "*/", "store/*/", "store/orders/*/"):
            for staged in self.root.glob(f"{folder}.*.tmp"):
                shutil.rmtree(staged) if staged.is_dir() else staged.unlink()
        return conflicts

    def failed_at(self, run_id: str) -> tuple[str | None, Path]:
        """Where in the code a run failed, as far as that is known, and its log."""
        directory = self.directory(run_id)
        failure = read_record(directory / "failure.json", run_id) or {}
        return failure.get("at"), directory / LOG

    def set_damaged_aside(self, ends: Mapping[str, RunEnd]) -> list[str]:
        """Move runs whose files are damaged to ``damaged/``, so that they are missing; returns what was wrong.

        Errors: StorageError for one that cannot be read, or that a later version wrote: nothing is known of it.
        """
        problems = []
        for run_id, end in ends.items():
            if end.status == "damaged":
                fault = verify_run(self.directory(run_id), run_id, large=False).fault
                if fault is None:  # it could not be read a moment ago
                    continue
                if not fault.is_damage:
                    raise StorageError(str(end.reason))
                place = self.set_aside(self.directory(run_id), "damaged")
                what = str(end.reason).partition("; move it away")[0]  # which is done here
                problems.append(f"{what}; the run is in {place} now, and is trained again")
        return problems

    def keep_plugins(self, plugins: "Sequence[Plugin]", grid: str) -> list[dict[str, str]]:
        """Copy plugins to the folder of a grid, from which its runs load them; returns what run.json says of them."""
        records = []
        for plugin in plugins:
            copy = self.grid_directory(grid) / "plugins" / f"{plugin.sha256}.py"
            if not copy.exists() or copy.read_bytes() != plugin.source:
                copy.parent.mkdir(parents=True, exist_ok=True)
                with replacing(copy) as staged:
                    staged.write_bytes(plugin.source)
            record = {"file": plugin.file, "sha256": plugin.sha256, "copy": copy.relative_to(self.root).as_posix()}
            records.append(record)
        return records

    def order(
        self,
        run: "Run",
        plugins: Sequence[Mapping[str, str]] = (),
        shorter_run: Path | None = None,
        keep_end: bool = False,
    ) -> Order | Ended:
        """What is to be trained, written down; an earlier end of the run is moved aside, or with ``keep_end`` returned.

        Of earlier attempts the one with the furthest checkpoint is kept, and of a run that failed its own. ``plugins``
        are their records, as ``keep_plugins`` returns them; ``shorter_run`` is the directory of one that this one goes
        on from. Errors: StorageError.
        """
        from ..config.layered import dump

        directory, start = self.directory(run.id), run.config.start_from
        order = Order(run.id, self._runs / "orders" / run.id)
        attempts = attempts_of(self._runs, run.id)
        how: Commit = "committed"
        where = ""
        for attempt in [attempt for attempt in attempts if has_end(attempt)]:  # killed just before it became the run
            if finish(attempt) == "conflict":
                how, where = "conflict", attempt.name
            attempts.remove(attempt)
        try:
            if is_listed(self._runs, run.id):
                if keep_end and (end := self.end(run.id)).status in LEFT_ALONE:
                    return Ended(run.id, how, end.status, end.reason, where)
                self.set_aside(directory, "replaced")
            failed = last_aside(self._runs, run.id, "replaced")
            for attempt in attempts:
                if attempt != furthest(attempts) and not is_at_work(attempt):
                    remove(attempt)
        except OSError as error:
            raise unwritable(directory, error) from None
        write_json(
            order.directory / "run.json",
            {
                "schema": SCHEMA,
                "id": run.id,
                "seed": run.seed,
                "config": dump(run.config),
                "identity": run.identity,
                "code": code_version(run.config),
                "data": run.data,
                "measured_on": run.measured_on,
                "plugins": [dict(plugin) for plugin in plugins],
                **({"start_weights": str(self.starts.directory(start).resolve() / WEIGHTS)} if start else {}),
                **({"shorter_run": str(shorter_run.resolve())} if shorter_run else {}),
                **({"failed_run": failed.name} if failed and (failed / CHECKPOINT).is_dir() else {}),
            },
            durable=False,  # what a power cut takes of it is written again by the next command
        )
        return order

    def attempt(self, name: str) -> Path:
        """The directory of an attempt."""
        return self._runs / "attempts" / name

    def record_death(self, ended: Ended) -> RunEnd:
        """The end of a run whose process ended without a word and is not tried again. Errors: StorageError.

        That it was killed is no end: the next command goes on.
        """
        reason = ended.reason or "its process ended"
        if not ended.where:  # nothing that could say so is there
            return RunEnd("missing", reason)
        attempt = self.attempt(ended.where)
        if has_end(attempt):
            finish(attempt)
            return self.end(ended.run_id)
        if ended.cause in ("killed", "memory"):
            give_up(attempt, KILLED, reason)
            return RunEnd("killed", reason)
        fingerprint = f"{ended.cause} {ended.at}"
        commit(
            attempt, "failure.json", {"kind": ended.cause, "reason": reason, "at": ended.at, "fingerprint": fingerprint}
        )
        return RunEnd("failed", reason)

    def conclude(self, run_id: str) -> None:
        """Tidy up after a run that has come to an end: its order, and attempts that did not become the run."""
        directory = self.directory(run_id)
        if not is_listed(self._runs, run_id) or not has_end(directory):
            return
        try:
            for attempt in attempts_of(self._runs, run_id):
                if not is_running(attempt):  # for another command, and will find that it has lost
                    remove(attempt)
            if (replaced := last_aside(self._runs, run_id, "replaced")) is not None:
                shutil.rmtree(replaced / CHECKPOINT, ignore_errors=True)  # what has ended since has its own
            shutil.rmtree(self._runs / "orders" / run_id, ignore_errors=True)
        except OSError as error:
            raise unwritable(self._runs, error) from None

    def set_aside(self, directory: Path, folder: str) -> Path:
        """Move a run to a folder beside all runs; returns where it is then. Errors: OSError."""
        return set_aside(directory, self._runs, folder)
