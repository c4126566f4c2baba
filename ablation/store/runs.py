"""The runs on disk. The directory is the truth; the status of a run is read from its files, never kept twice.

What reads runs needs no torch: whatever does need it is imported where a run is ordered.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, StorageError
from ..names import reason_no_folder
from .attempts import (
    LOG,
    Ended,
    Order,
    all_attempts,
    attempts_of,
    commit,
    furthest,
    give_up,
    has_end,
    is_at_work,
    is_running,
    probe,
    remove,
    rename,
    run_directory,
    why_ended,
)
from .code import code_version, is_stale, recorded_code
from .files import replacing, unwritable, write_json
from .index import read_results
from .listing import is_listed, listed
from .lock import hold, is_held
from .results import (
    KILLED,
    LEFT_ALONE,
    SCHEMA,
    WEIGHTS,
    RunEnd,
    RunResult,
    RunStatus,
    read_end,
    read_record,
    read_result,
)
from .rows import METRICS, Row, read_rows

if TYPE_CHECKING:
    from ..grid.plan import Run
    from ..plugins import Plugin


class Store:
    """``runs/``: one directory per run under ``store/``, one per grid beside it.

    ``directory`` and ``grid_directory`` are the only places that know these paths; ``attempts`` has those of runs that
    are being trained.
    """

    def __init__(self, root: Path):
        self.root = root

    def directory(self, run_id: str) -> Path:
        return run_directory(self._runs, run_id)

    @property
    def _runs(self) -> Path:
        return self.root / "store"

    def find(self, prefix: str) -> str:
        """The id of the one run whose id begins so. Errors: InputError."""
        if not re.fullmatch("[0-9a-f]{4,32}", prefix):
            raise InputError(f"RUN {prefix}: not the id of a run, nor 4 or more of its first hexadecimal digits")
        ids = sorted(folder.name for folder in (self._runs / prefix[:2]).glob(f"{prefix}*"))
        if not ids:
            raise InputError(f"RUN {prefix}: no run in {self.root} begins so; runs/GRID/manifest.json has the ids")
        if len(ids) > 1:
            raise InputError(f"RUN {prefix}: {len(ids)} runs begin so, such as {ids[0]} and {ids[1]}")
        return ids[0]

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

    def end(self, run_id: str) -> RunEnd:
        """Errors: StorageError when a file of the run is damaged or newer than this program."""
        directory = self.directory(run_id)
        end = read_end(directory, run_id) if is_listed(directory) else RunEnd("missing")
        return self._unfinished(attempts_of(self._runs, run_id)) if end.status == "missing" and not end.reason else end

    def ends(self, run_ids: Iterable[str]) -> dict[str, RunEnd]:
        """The same of many runs. One that is damaged is "damaged"."""
        ends: dict[str, RunEnd] = {}
        attempts: Mapping[str, list[Path]] | None = None
        ids = list(run_ids)
        there = listed(map(self.directory, ids))
        indexed = read_results(self.root, {directory.name: directory for directory in there})
        for run_id in ids:
            end = RunEnd("missing")
            try:
                if run_id in indexed:
                    end = RunEnd(indexed[run_id].status, indexed[run_id].reason)
                elif self.directory(run_id) in there:
                    end = read_end(self.directory(run_id), run_id)
                    read_record(self.directory(run_id) / "run.json", run_id)  # which is needed of it as well
            except StorageError as error:
                end = RunEnd("damaged", str(error))
            if end.status == "missing" and not end.reason:
                attempts = all_attempts(self._runs) if attempts is None else attempts
                end = self._unfinished(attempts.get(run_id, []))
            ends[run_id] = end
        return ends

    def _unfinished(self, attempts: Sequence[Path]) -> RunEnd:
        """Of a run without a directory: whether anybody is at it, and why the last attempt ended."""
        if not attempts:
            return RunEnd("missing")
        ended = why_ended(attempts[-1])
        if ended is not None:
            kind, reason = ended
            return RunEnd("killed" if kind == KILLED else "missing", reason)
        return RunEnd("running" if is_held(self.root) or is_running(attempts[-1]) else "stopped")

    def status(self, run_id: str) -> RunStatus:
        return self.end(run_id).status

    def result(self, run_id: str) -> RunResult:
        """The run's result with all its numbers, and the code that trained it; of a damaged one only what is wrong."""
        directory, result = self.directory(run_id), RunResult(run_id, "missing")
        try:
            if is_listed(directory):
                result = read_result(directory, run_id)
            if result.ended:
                trained = read_record(directory / "run.json", run_id) or {}
                return replace(result, code=recorded_code(trained), stale_code=is_stale(trained))
        except StorageError as error:
            return RunResult(run_id, "damaged", reason=str(error))
        if result.status == "missing" and not result.reason:
            end = self._unfinished(attempts_of(self._runs, run_id))
            return replace(result, status=end.status, reason=end.reason)
        return result

    def results(self, run_ids: Iterable[str]) -> dict[str, RunResult]:
        """The same of many runs; those that have not changed since are known from the index."""
        ids = list(run_ids)
        there = listed(map(self.directory, ids))
        indexed = read_results(self.root, {directory.name: directory for directory in there})
        results: dict[str, RunResult] = {}
        attempts: Mapping[str, list[Path]] | None = None
        for run_id in ids:
            if run_id in indexed:
                result = indexed[run_id]
            elif self.directory(run_id) in there:
                result = self.result(run_id)
            else:
                attempts = self.attempts() if attempts is None else attempts
                end = self._unfinished(attempts.get(run_id, []))
                result = RunResult(run_id, end.status, reason=end.reason)
            results[run_id] = result
        return results

    def live_directories(self, run_ids: Iterable[str]) -> dict[str, Path]:
        """Where the rows of runs are: in their directories, or in those of their newest attempts before their end.

        Runs that have neither are left out.
        """
        directories = {run_id: self.directory(run_id) for run_id in run_ids}
        there = listed(directories.values())
        found = {run_id: directory for run_id, directory in directories.items() if directory in there}
        if len(found) < len(directories):
            attempts = self.attempts()
            unfinished = (attempts.keys() & directories.keys()) - found.keys()
            found |= {run_id: attempts[run_id][-1] for run_id in unfinished}
        return found

    def attempts(self) -> dict[str, list[Path]]:
        """The attempts at runs that have not come to an end, by their ids, the newest last."""
        return all_attempts(self._runs)

    def rows(self, run_id: str, having: str = "") -> list[Row]:
        """The rows of its metrics with ``having`` in their text. Errors: StorageError."""
        return self.rows_of([run_id], having)[run_id]

    def rows_of(self, run_ids: Iterable[str], having: str = "") -> dict[str, list[Row]]:
        """The same of many runs."""
        ids = list(run_ids)
        live = self.live_directories(ids)
        return {run_id: read_rows(live[run_id] / METRICS, having) if run_id in live else [] for run_id in ids}

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
        ended = [one for one in chain.from_iterable(self.attempts().values()) if has_end(one)]
        conflicts = [attempt.name for attempt in ended if rename(attempt) == "conflict"]
        for order in (self._runs / "orders").glob("*"):
            self.conclude(order.name)
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
        """Move runs whose files are damaged to ``damaged/``, so that they are missing; returns what was wrong."""
        problems = []
        for run_id, end in ends.items():
            if end.status == "damaged":
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

    def order(self, run: "Run", plugins: Sequence[Mapping[str, str]] = (), shorter_run: Path | None = None) -> Order:
        """What is to be trained, written down; an earlier end of the run is moved aside.

        Of earlier attempts the one with the furthest checkpoint is kept. ``plugins`` are their records, as
        ``keep_plugins`` returns them; ``shorter_run`` is the directory of one that this one goes on from. Errors:
        StorageError.
        """
        from ..config.layered import dump

        directory, start = self.directory(run.id), run.config.start_from
        order = Order(run.id, self._runs / "orders" / run.id)
        try:
            if is_listed(directory):
                self.set_aside(directory, "replaced")
            attempts = attempts_of(self._runs, run.id)
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
                **({"start_weights": str(self.directory(start).resolve() / WEIGHTS)} if start else {}),
                **({"shorter_run": str(shorter_run.resolve())} if shorter_run else {}),
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
        attempt, reason = self.attempt(ended.where), ended.reason or "its process ended"
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
        if not is_listed(directory) or not has_end(directory):
            return
        try:
            for attempt in attempts_of(self._runs, run_id):
                if not is_at_work(attempt):  # of another command; it will find that it has lost
                    remove(attempt)
            shutil.rmtree(self._runs / "orders" / run_id, ignore_errors=True)
        except OSError as error:
            raise unwritable(self._runs, error) from None

    def set_aside(self, directory: Path, folder: str) -> Path:
        place = self._runs / folder
        place.mkdir(exist_ok=True)
        names = (f"{directory.name}-{number}" for number in count(1))
        target = next(place / name for name in names if not (place / name).exists())
        directory.rename(target)
        return target
