"""wandb as the mirror uses it: started silently, several runs at once, ended within a bound."""

import hashlib
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..secrets import redact_values
from .follow import Ledger

# Nothing of the machine, the code or the terminal is collected. Names that this wandb does not know are left out.
SETTINGS: dict[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "finish_timeout": 15,  # seconds; without it, finish() waits for a lost server forever
    "finish_timeout_raises": True,
    "init_timeout": 20,
    "label_disable": True,
    "quiet": True,
    "save_code": False,
    "silent": True,
    "stop_fn": lambda: None,  # else "stop run" on the web page interrupts the driver, and with it the whole grid
    "symlink": False,
    "use_dot_wandb": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1,
}
# wandb reads these in many places, so they are set while a session lasts. Variables of an outer run or sweep would
# rename our runs; debug levels would write the API key into log files; the service of another process may end any time.
ENVIRONMENT: dict[str, str | None] = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"} | dict.fromkeys(
    [f"WANDB_{name}" for name in ("DEBUG", "CORE_DEBUG", "NOTES", "RESUME", "RUN_ID", "SERVICE", "SWEEP_ID")]
)


@dataclass(frozen=True)
class TrackedRun:
    """What W&B gets of a run besides its rows.

    Args:
        id: the run's id, which is also its id in W&B.
        directory: the run directory; it may not exist yet.
        name: for reading, such as "block=post_norm seed=0".
        group: the grid and the cell's label, since cells of several grids may have one label.
        tags: the grid's name, and the grid's own tags.
        config: the fully resolved configuration, nested.
        factors: the level of each factor by its short name; logged flat, as "factor_block", to group and filter by.
        grid: its name; the cell's label is logged as "cell_" with it: a run has one group and may be of several grids.
        cell: its label.
        notes: what is written beside the run, in words.
    """

    id: str
    directory: Path
    name: str
    group: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    factors: Mapping[str, str | int | float | bool | None]
    grid: str = ""
    cell: str = ""
    notes: str | None = None

    @property
    def keys(self) -> dict[str, str | int | float | bool | None]:
        """What is logged flat of this grid."""
        cell = {f"cell_{config_key(self.grid)}": self.cell} if self.grid else {}
        return {**{f"factor_{name}": level for name, level in self.factors.items()}, **cell}


class Session:
    """One wandb process at a time, whose files go to the folder `wandb` in `directory`."""

    def __init__(self, directory: Path, project: str, entity: str | None = None) -> None:
        self.lost_uploads = 0
        self._entity = entity
        self._directory = directory.resolve()
        self._project = project
        self._wandb: Any = None
        self._process: Any = None

    def begin(self) -> None:
        """Import wandb and start its process. Raises whatever wandb raises."""
        import wandb

        self._wandb = wandb
        hooks = sys.exit, sys.excepthook
        os.environ.pop("WANDB_SERVICE", None)
        setup = wandb.setup(settings=wandb.Settings(silent=True, quiet=True))
        wandb.termsetup(
            setup.settings,
            SimpleNamespace(info=_ignore, warning=self._count_lost_upload, error=self._count_lost_upload),
        )
        service = setup.ensure_service()
        # wandb does not expose its process; if the attributes disappear, a lost process has to end by itself.
        self._process = getattr(getattr(service, "_proc", None), "_process", None)
        sys.exit, sys.excepthook = hooks  # wandb replaces both to learn the exit code of a script

    def end(self, timeout: float) -> bool:
        """End wandb's process, which waits for its uploads; return whether it did so within `timeout` seconds.

        One that does not is killed: it would outlive this process and upload rows which a later replay sends too.
        """
        if self._wandb is None:
            return True
        thread = threading.Thread(target=_tear_down, args=(self._wandb,), name="wandb-teardown", daemon=True)
        thread.start()
        thread.join(timeout)
        ended = not thread.is_alive()
        if not ended and self._process is not None:
            self._process.kill()
            thread.join(1.0)
        return ended

    def open(self, tracked: TrackedRun, mode: str, others: Ledger, job: str = "train") -> Any:
        """Start a W&B run; online, a run that is on the server already is continued. Raises whatever wandb raises.

        ``others`` says with which tags and keys other grids have mirrored it, which it keeps.
        """
        tags = dict.fromkeys([*tracked.tags, *others.tags])
        settings = {name: value for name, value in SETTINGS.items() if name in self._wandb.Settings.model_fields}
        run = self._wandb.init(
            project=self._project,
            entity=self._entity,
            dir=str(self._directory),
            id=tracked.id,
            name=_shorten(tracked.name, 128),
            group=_shorten(tracked.group, 128),
            job_type=job,
            tags=[_shorten(tag, 64) for tag in tags],
            notes=tracked.notes,
            config=redact_values({**tracked.config, **others.keys, **tracked.keys}),
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=self._wandb.Settings(**settings),
        )
        for name in ("tokens", "step", "seconds"):
            run.define_metric(name, hidden=True)
        for names in ("train/*", "validation/*", "stability/*"):
            run.define_metric(names, step_metric="tokens")
        return run

    def folders(self, kind: str, run_id: str) -> set[Path]:
        """Return what wandb wrote for a run, once per time it was opened; `kind` is "run" or "offline-run"."""
        return set((self._directory / "wandb").glob(f"{kind}-*-{run_id}*"))

    def _count_lost_upload(self, message: str) -> None:
        # The only sign that an upload failed for good: finish() then returns as usual.
        if "not be synced" in message:
            self.lost_uploads += 1


def set_environment(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set these environment variables, None removes one; return what they were."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


def _tear_down(wandb: Any) -> None:
    try:
        wandb.teardown()
    except (Exception, SystemExit):  # it exits with the code of its own process; all that could be saved is saved
        return


def _shorten(text: str, limit: int) -> str:
    """Shorten what W&B would refuse; two long labels stay different."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def config_key(name: str) -> str:
    """A name as W&B takes it in keys by which runs are grouped."""
    return re.sub(r"\W", "_", name)


def _ignore(message: str) -> None:
    """Drop what wandb would print."""
