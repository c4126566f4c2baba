"""The runs on disk. The directory is the truth; the status of a run is read from its files, never kept twice.

What reads runs needs no torch: whatever does need it is imported where a run is prepared.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .code import code_version, is_stale, recorded_code
from .example_losses import EXAMPLE_LOSSES
from .files import unwritable, write_json
from .lock import hold
from .results import SCHEMA, WEIGHTS, RunEnd, RunResult, RunStatus, read_end, read_record, read_result
from .rows import METRICS, Row, read_rows

if TYPE_CHECKING:
    from ..grid.plan import Run
    from ..plugins import Plugin

RESERVED = ("store", "wandb")
"""Names of the other folders that lie beside those of the grids."""


class Store:
    """``runs/``: one directory per run under ``store/``, one per grid beside it.

    ``directory`` and ``grid_directory`` are the only places that know these paths.
    """

    def __init__(self, root: Path):
        self.root = root

    def directory(self, run_id: str) -> Path:
        return self._runs / run_id[:2] / run_id

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
        """Errors: InputError where the name is that of another folder."""
        if name.lower() in RESERVED:
            raise InputError(f"name: {name!r} is the name of another folder in {self.root}; call the grid otherwise")
        return self.root / name

    def lock(self) -> AbstractContextManager[None]:
        """One driver at a time. Errors: Locked, StorageError."""
        return hold(self.root)

    def end(self, run_id: str) -> RunEnd:
        """Errors: StorageError when a file of the run is damaged or newer than this program."""
        return read_end(self.directory(run_id), run_id)

    def status(self, run_id: str) -> RunStatus:
        return self.end(run_id).status

    def result(self, run_id: str) -> RunResult:
        """The run's result with all its numbers, and the code that trained it. Errors: StorageError."""
        result = read_result(self.directory(run_id), run_id)
        if not result.ended:
            return result
        trained = read_record(self.directory(run_id) / "run.json", run_id) or {}
        return replace(result, code=recorded_code(trained), stale_code=is_stale(trained))

    def has_rows(self, run_id: str) -> bool:
        """Whether its training has begun to write metrics."""
        return (self.directory(run_id) / METRICS).exists()

    def rows(self, run_id: str, having: str = "") -> list[Row]:
        """The rows of its metrics with ``having`` in their text. Errors: StorageError."""
        return read_rows(self.directory(run_id) / METRICS, having)

    def has_stale_code(self, run: "Run") -> bool:
        """Whether the run was trained by other code than today's."""
        trained = read_record(self.directory(run.id) / "run.json", run.id)
        return trained is not None and trained.get("code") != code_version(run.config)

    def to_train(self, runs: "Sequence[Run]", retry: Sequence[str] = ()) -> "list[Run]":
        """Those that have no result yet, and those that ``retry`` names: words of ``RETRIES``."""
        selected = []
        for run in runs:
            status = self.status(run.id)
            again = status in retry or ("stale_code" in retry and self.has_stale_code(run))
            if status in ("missing", "killed") or again:
                selected.append(run)
        return selected

    def prepare(self, run: "Run", plugins: "Sequence[Plugin]" = ()) -> Path:
        """The run's directory, ready to train in: an earlier result is moved aside, an unfinished attempt deleted.

        Errors: StorageError.
        """
        from ..config.layered import dump

        directory, start = self.directory(run.id), run.config.start_from
        try:
            if (directory / "result.json").exists():
                self._set_aside(directory)
            for leftover in ("failure.json", METRICS, WEIGHTS, EXAMPLE_LOSSES, ".*.tmp", ".tmp*"):
                for file in directory.glob(leftover):
                    file.unlink()
        except OSError as error:
            raise unwritable(directory, error) from None
        write_json(
            directory / "run.json",
            {
                "schema": SCHEMA,
                "id": run.id,
                "seed": run.seed,
                "config": dump(run.config),
                "identity": run.identity,
                "code": code_version(run.config),
                "data": run.data,
                "measured_on": run.measured_on,
                "plugins": [asdict(plugin) for plugin in plugins],
                **({"start_weights": str(self.directory(start).resolve() / WEIGHTS)} if start else {}),
            },
        )
        return directory

    def _set_aside(self, directory: Path) -> None:
        replaced = self._runs / "replaced"
        replaced.mkdir(exist_ok=True)
        names = (f"{directory.name}-{number}" for number in count(1))
        directory.rename(next(replaced / name for name in names if not (replaced / name).exists()))
