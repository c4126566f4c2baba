"""Stored runs as they are read: which there are, how they ended, and where their files lie.

The directory is the truth; the status of a run is read from its files, never kept twice. Nothing here needs torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, StorageError
from .attempts import all_attempts, attempts_of, folder_of, is_running, run_directory, why_ended
from .code import is_stale, recorded_code
from .listing import is_listed, listed
from .lock import is_held
from .results import KILLED, RunEnd, RunResult, RunStatus, read_record, read_result
from .rows import METRICS, Row, read_rows


class StoredRuns:
    """Those in ``runs/``, read only."""

    def __init__(self, root: Path):
        self.root = root

    def directory(self, run_id: str) -> Path:
        return run_directory(self._runs, run_id)

    @property
    def _runs(self) -> Path:
        return self.root / "store"

    def directories(self, run_ids: Iterable[str]) -> dict[str, Path]:
        """By id, those of these runs that are there."""
        return listed(self._runs, run_ids)

    def _indexed(self, directories: Mapping[str, Path]) -> dict[str, RunResult]:
        """By id, the runs that have come to an end."""
        if not directories:
            return {}  # without loading SQLite
        from .index import read_results

        return read_results(self.root, directories)

    def find(self, prefix: str) -> str:
        """The id of the one run whose id begins with ``prefix``. Errors: InputError."""
        if not re.fullmatch("[0-9a-f]{4,32}", prefix):
            what = "it is no run; name one as GRID:CELL, or by its id or 4 or more of the id's first digits"
            raise InputError(f"RUN {prefix}: {what}; `ablate list GRID` lists them")
        ids = sorted(folder.name for folder in (self._runs / folder_of(prefix)).glob(f"{prefix}*"))
        if not ids:
            none = f"no run in {self.root} has an id that begins with this"
            raise InputError(f"RUN {prefix}: {none}; `ablate list GRID` lists the ids")
        if len(ids) > 1:
            several = f"{len(ids)} runs in {self.root} have ids that begin with this"
            raise InputError(f"RUN {prefix}: {several}, such as {ids[0]} and {ids[1]}")
        return ids[0]

    def end(self, run_id: str) -> RunEnd:
        """Errors: StorageError when a file of the run is damaged or newer than this program."""
        directory = self.directory(run_id)
        end = _whole_end(directory, run_id) if is_listed(self._runs, run_id) else RunEnd("missing")
        return self._unfinished(attempts_of(self._runs, run_id)) if end.status == "missing" and not end.reason else end

    def ends(self, run_ids: Iterable[str]) -> dict[str, RunEnd]:
        """The same of many runs. One that is damaged is "damaged"."""
        ends: dict[str, RunEnd] = {}
        attempts: Mapping[str, list[Path]] | None = None
        ids = list(run_ids)
        there = self.directories(ids)
        indexed = self._indexed(there)
        for run_id in ids:
            end = RunEnd("missing")
            try:
                if run_id in indexed:
                    end = RunEnd(indexed[run_id].status, indexed[run_id].reason)
                elif run_id in there:
                    end = _whole_end(there[run_id], run_id)
                    read_record(there[run_id] / "run.json", run_id)  # which is needed of it as well
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
            if is_listed(self._runs, run_id):
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
        there = self.directories(ids)
        indexed = self._indexed(there)
        results: dict[str, RunResult] = {}
        attempts: Mapping[str, list[Path]] | None = None
        for run_id in ids:
            if run_id in indexed:
                result = indexed[run_id]
            elif run_id in there:
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
        ids = set(run_ids)
        found = self.directories(ids)
        if len(found) < len(ids):
            attempts = self.attempts()
            unfinished = (attempts.keys() & ids) - found.keys()
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


def _whole_end(directory: Path, run_id: str) -> RunEnd:
    """How a run ended whose numbers can be read. Errors: StorageError, as for a run without them."""
    result = read_result(directory, run_id)
    return RunEnd(result.status, result.reason)
