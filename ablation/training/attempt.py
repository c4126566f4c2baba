"""One attempt at a run: from what is to be trained to the end of the run, or to the reason why it has none yet."""

import errno
import hashlib
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..config.layered import load
from ..errors import InputError, StorageError
from ..plugins import Plugin, lines_of_plugins, load_copies
from ..secrets import redact
from ..store.attempts import Ended, Order, begin, commit, give_up, run_directory, run_of
from ..store.files import read_json
from ..store.results import DATA_CHANGED, PLUGIN_CHANGED, RunStatus, read_end
from ..tasks.base import Task
from ..tasks.unchanged import DataChangedError, check_unchanged
from .checkpoint import Stopped, never
from .ranks import other_ranks
from .run import train

FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
"""Errors of a file system that are no fault of what writes."""
LONGEST_REASON = 500
LACK_OF_MEMORY = ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Words of torch's plain RuntimeError."""


def train_order(order: Order, stop: Callable[[], bool] = never) -> Ended:
    """Train what is ordered, in this process. Errors: StorageError where no attempt can begin."""
    return train_attempt(begin(order), stop)


def nothing() -> None:
    """Do nothing."""


def train_attempt(
    attempt: Path,
    stop: Callable[[], bool] = never,
    alive: Callable[[], None] = nothing,
    close: Callable[[], None] = nothing,
) -> Ended:
    """Train what run.json in the directory of an attempt describes, and make the attempt the run.

    Nothing is trained where the data or the plugins are not those that the run was planned on. ``stop`` is asked after
    every step; ``alive`` is called with every batch of training and evaluation, ``close`` before the end of the run is
    written.
    """
    try:
        return _train(attempt, stop, alive, close)
    except StorageError as error:
        return _ended(attempt, "storage", reason=str(error))


def _train(attempt: Path, stop: Callable[[], bool], alive: Callable[[], None], close: Callable[[], None]) -> Ended:
    run = read_json(attempt / "run.json")
    try:
        load_copies(_copies(attempt, run["plugins"]))
    except InputError as error:
        return _give_up(attempt, PLUGIN_CHANGED, error)
    try:
        config = load(run["config"])
        task: Task = config.task.build()
        check_unchanged(task, run["identity"]["fingerprint"], run.get("data", {}))
        start = run.get("start_weights")
        further = run.get("shorter_run")
        with other_ranks(attempt, config.training.ranks):
            result = train(config, attempt, task, _path(start), stop, _path(further), alive)
    except DataChangedError as error:
        return _give_up(attempt, DATA_CHANGED, error)
    except Stopped:
        return _ended(attempt, "stopped")
    except StorageError:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in FULL_OR_BROKEN:
            raise StorageError(f"{error.filename or attempt}: cannot be written ({error.strerror})") from None
        if isinstance(error, SystemExit) and stop():  # Lightning's way to end on SIGTERM
            return _ended(attempt, "stopped")
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            error = error.__context__  # which Lightning makes that of
        return _fail(attempt, error, close)
    status: RunStatus = result["status"]
    close()
    outcome = commit(attempt, "result.json", {**result, "measured_on": run.get("measured_on", {})})
    return _ended(attempt, outcome, status=status, reason=result["reason"])


def train_rank(attempt: Path, scratch: Path) -> None:
    """Train with the rank of this process what an attempt describes; what it writes goes to ``scratch``."""
    run = read_json(attempt / "run.json")
    load_copies(_copies(attempt, run["plugins"]))
    train(load(run["config"]), scratch, start=_path(run.get("start_weights")))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _fail(attempt: Path, error: BaseException, close: Callable[[], None]) -> Ended:
    """An error is the end of a run, unless another attempt has a result."""
    sys.stderr.write(redact("".join(traceback.format_exception(error))))  # into the run's log
    words = ": ".join(filter(None, (type(error).__name__, str(error))))
    reason = textwrap.shorten(redact(words), LONGEST_REASON, placeholder=" ...")
    place = raised_at(error)
    failure = {
        "kind": "oom" if is_lack_of_memory(error) else "exception",
        "reason": reason,
        "at": place,
        "fingerprint": fingerprint(type(error).__name__, place),
    }
    close()
    outcome, run = commit(attempt, "failure.json", failure), run_of(attempt)
    end = read_end(run_directory(attempt.parent.parent, run), run)
    return _ended(attempt, outcome, status=end.status, reason=end.reason)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, of the machine or of a GPU; torch has no class for some."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LACK_OF_MEMORY)


def raised_at(error: BaseException) -> str | None:
    """``file:line`` where an error was raised: the last line of a plugin, else of this package, that was at work."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    package = __name__.partition(".")[0]
    of_package = [each for each in frames if str(each[0].f_globals.get("__name__")).startswith(f"{package}.")]
    places = lines_of_plugins(frames) or [f"{frame.f_code.co_filename}:{line}" for frame, line in of_package or frames]
    return places[-1] if places else None


def fingerprint(kind: str, place: str | None) -> str:
    """The same for failures of several runs that have one cause: the same kind of error at the same place."""
    return hashlib.sha256(f"{kind} {place}".encode()).hexdigest()[:12]


def _give_up(attempt: Path, kind: str, error: InputError) -> Ended:
    """No fault of the run, which is trained once its data or plugins are back."""
    give_up(attempt, kind, str(error))
    return _ended(attempt, "given_up", reason=str(error))


def _ended(attempt: Path, how: Any, **about: Any) -> Ended:
    return Ended(run_of(attempt), how, where=attempt.name, **about)


def _copies(attempt: Path, records: list[Mapping[str, str]]) -> list[tuple[Plugin, Path]]:
    root = attempt.parents[2]  # of runs
    return [(Plugin(record["file"], record["sha256"]), root / record["copy"]) for record in records]
