"""What a run leaves behind: the one reader of its run.json, result.json and failure.json, and of all that they say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..stats.contrast import LARGEST
from .digests import changed_files, has_digests
from .example_losses import ExampleLosses, read_example_losses
from .files import damaged, read_json, unreadable
from .rows import METRICS, read_rows
from .run_files import ENDS, FILES
from .schemas import FAILURE, MEASURED, RESULT, RUN, check_file

SCHEMA = 1
"""Of run.json, result.json and failure.json."""

WEIGHTS = "weights.safetensors"
"""What a completed run has learned, unless training.save_weights is off."""

RunStatus = Literal["completed", "diverged", "failed", "oom", "killed", "damaged", "stopped", "running", "missing"]
"""The one vocabulary for the state of a run. The next command trains all but those that are ``completed``,
``diverged``, ``failed`` or ``oom``, which it does only with ``--retry``, or after the code of a failed one has changed.

``stopped`` and ``running`` have begun: a run is ``running`` while a command trains into the runs directory, or its own
process lives. ``killed``: the process of its last attempt was; ``damaged``: a file of it is no longer what was written.
"""

CHECKS = {"run.json": RUN, "result.json": RESULT, "failure.json": FAILURE}

KILLED = "killed"
DATA_CHANGED = "data_changed"
PLUGIN_CHANGED = "plugin_changed"
"""Kinds of ended.json and failure.json: what ended an attempt though it is no fault of the run, which the next command
trains: its process was killed, or its data or a plugin were not those that it was planned on."""

FINISHED: tuple[RunStatus, ...] = ("completed", "diverged")
"""Trained to the end, well or not."""

FAILED: tuple[RunStatus, ...] = ("failed", "oom", "killed", "damaged")

LEFT_ALONE: tuple[RunStatus, ...] = ("completed", "diverged", "failed", "oom")
"""Not trained again by themselves."""

UNFINISHED: tuple[RunStatus, ...] = ("missing", "stopped", "running")

RETRIES = ("failed", "oom", "diverged", "stale_code")
"""The words of ``--retry``: what is trained again on request. ``stale_code``: trained by other code than today's."""

LOG_SPIKE_SCORE = "log_spike_score"
NO_SPIKES = 1e-3
"""Added to the fraction of steps that are spikes before its logarithm."""
VARIANTS = ("_best", "_mean_last")
"""Endings of the names of a metric's best evaluation and of the mean of its last ones."""

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, and the reason in one line; no reason where it is completed or was not started."""

    status: RunStatus
    reason: str | None = None


class Evaluation(NamedTuple):
    """One evaluation on the validation set in the course of a run."""

    tokens: int
    seconds: float
    """Of training, validation left out."""
    loss: float


NOTHING: Mapping[str, Any] = {}


def _nothing() -> Mapping[str, Any]:
    return NOTHING  # one for the runs that are missing, of which there may be a hundred thousand


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run measured: its metrics by name, why it ended, and its evaluations over time."""

    id: str
    status: RunStatus
    metrics: Mapping[str, float] = field(default_factory=_nothing)
    reason: str | None = None
    initial_loss: float | None = None
    """Of the first step: the loss of a model that has learned nothing."""
    stability: Mapping[str, Any] = field(default_factory=_nothing, compare=False)
    """All that was monitored, also what is no single number."""
    directions: Mapping[str, Better | None] = field(default_factory=_nothing, compare=False)
    """Which direction is better, by metric, as the task says."""
    units: Mapping[str, str] = field(default_factory=_nothing, compare=False)
    """The units of metrics that declare one."""
    evaluations: Sequence[Evaluation] = field(default=(), compare=False)
    tokens: float | None = None
    """How many it was trained on."""
    training_seconds: float | None = field(default=None, compare=False)
    record: Mapping[str, Any] = field(default_factory=_nothing, compare=False)
    """The machine and the versions of libraries it was trained with."""
    code: Mapping[str, str] = field(default_factory=_nothing, compare=False)
    """Fingerprints of the code that trained it: of this package and, by their names, of components from elsewhere."""
    stale_code: bool = field(default=False, compare=False)
    """Whether that is other code than today's."""
    by_position: Mapping[str, Any] = field(default_factory=_nothing, compare=False)
    """``{"position": [...], "loss": [...]}`` of the last evaluation, by the ending of the validation set: "", "@2x"."""
    example_losses: ExampleLosses | None = field(default=None, compare=False)
    """Of the last evaluation on the usual validation set; None where they were not kept."""

    @property
    def ended(self) -> bool:
        """Whether it was trained to its end, well or not."""
        return self.status in FINISHED

    def value(self, name: str) -> float | None:
        """The metric of that name, None where there is none.

        A diverged run is not left out, which would favor what diverges: its loss is at most that of a model that has
        learned nothing (Wortsman et al. 2023, arXiv:2309.14322). Its best evaluation was before it diverged, so that
        the best and the mean of the last ones are the final one.
        """
        if self.status == "completed":
            value = self.metrics.get(name)
            return measured(self.stability.get(name) if value is None else value)
        if self.status == "diverged":
            name = _without_variant(name)
        value = measured(self.metrics.get(name, self.stability.get(name))) if self.ended else None
        if self.status != "diverged" or base_metric(name) != "loss":
            return value
        if self.initial_loss is None:
            return None
        return self.initial_loss if value is None else min(value, self.initial_loss)


def read_end(directory: Path, run_id: str) -> RunEnd:
    """How the run in ``directory`` ended, without its numbers.

    Errors: StorageError when a file of the run is damaged, newer than this program, or not what was written.
    """
    return _read_end(directory, run_id)[0]


def read_result(directory: Path, run_id: str) -> RunResult:
    """The result of the run in ``directory``, as far as it has come.

    Errors: StorageError, in one line, if a file is there and is not what a run writes, or is not what this one wrote.
    """
    end, file, result = _read_end(directory, run_id)
    if end.status not in FINISHED:
        return RunResult(run_id, end.status, reason=end.reason)
    check_file(file, result, MEASURED)
    quality, efficiency = result["quality"], result["efficiency"]
    metrics = dict(quality["final"])
    for variant in VARIANTS:
        metrics |= {f"{name}{variant}": value for name, value in quality.get(variant[1:], {}).items()}
    stability = dict(result.get("stability", {}))
    stability[LOG_SPIKE_SCORE] = _log_spike_score(stability)
    metrics |= {name: efficiency.get(name) for name in ("parameters", "tokens_per_second")}
    return RunResult(
        run_id,
        end.status,
        {name: number for name, value in metrics.items() if (number := measured(value)) is not None},
        end.reason,
        measured(stability.get("initial_loss")),
        stability,
        quality.get("directions", {}),
        quality.get("units", {}),
        _evaluations(directory / METRICS),
        measured(efficiency.get("tokens")),
        measured(efficiency.get("training_seconds")),
        result.get("record", {}),
        by_position=quality.get("by_position", {}),
        example_losses=read_example_losses(directory),
    )


def _read_end(directory: Path, run_id: str) -> tuple[RunEnd, Path, dict[str, Any]]:
    """How a run ended, and the file that says so with what it holds; nothing of a run without an end."""
    for name in ENDS:
        file = directory / name
        end = read_record(file, run_id)
        if end is not None:
            if has_digests(end):
                _check_digests(directory, file, end)
            if name == "result.json":
                return RunEnd(end["status"], end.get("reason")), file, end
            reason = end.get("reason") or end.get("kind") or "no reason given"
            return RunEnd(_failed(end), reason), file, end
    return RunEnd("missing"), directory, {}


def _check_digests(directory: Path, file: Path, end: Mapping[str, Any]) -> None:
    """Errors: StorageError where a file that is read for a run is not what was written."""
    try:
        for path, what in changed_files(directory, end, FILES.__contains__):
            raise damaged(directory / path if path else file, what)
    except OSError as error:
        raise unreadable(Path(error.filename or directory), error) from None


def read_record(file: Path, run_id: str) -> dict[str, Any] | None:
    """A JSON file of a run, None where it is absent.

    Errors: StorageError when it is damaged, of another run or newer than this program.
    """
    record = read_json(file)
    if record is None:
        if not file.exists():
            return None
        record = read_json(file)  # it may have come since; if it holds nothing, it is damaged
    if not isinstance(record, dict) or record.get("id") != run_id:
        raise damaged(file, f"not of run {run_id}")
    check_file(file, record, CHECKS[file.name], SCHEMA)
    return record


def base_metric(name: str) -> str:
    """``accuracy@4x_best`` -> ``accuracy``."""
    return _without_variant(name).partition("@")[0]


def set_of(name: str) -> str:
    """The validation or test set that a metric is of: ``accuracy@4x_best`` -> ``4x``; empty for the usual one."""
    return _without_variant(name).partition("@")[2]


def _without_variant(name: str) -> str:
    for variant in VARIANTS:
        name = name.removesuffix(variant)
    return name


def _failed(failure: Mapping[str, Any]) -> RunStatus:
    kinds: dict[Any, RunStatus] = {"oom": "oom", "killed": "killed", DATA_CHANGED: "missing"}
    return kinds.get(failure.get("kind"), "failed")


def _log_spike_score(stability: Mapping[str, Any]) -> float | None:
    """log10(fraction of steps that are spikes + .001), so that a run without any has a value too.

    What is added does not depend on the number of steps, since runs without spikes are equal however long they are.
    """
    score = measured(stability.get("spike_score"))
    return None if score is None or score < 0 else math.log10(score + NO_SPIKES)


def _evaluations(file: Path) -> list[Evaluation]:
    """The evaluations on the validation set whose rows are whole, whose losses are finite, and whose times go on."""
    evaluations: list[Evaluation] = []
    last = Evaluation(0, 0.0, 0.0)
    for row in read_rows(file, having='"validation/loss"'):
        tokens, seconds, loss = row.get("tokens"), measured(row.get("seconds")), measured(row["validation/loss"])
        if loss is None or seconds is None or type(tokens) is not int:
            continue
        if tokens > last.tokens and seconds > 0 and seconds >= last.seconds:
            last = Evaluation(tokens, seconds, loss)
            evaluations.append(last)
    return evaluations


def measured(value: object) -> float | None:
    """A number that can be averaged, or None: null, NaN, infinite, or so large that its square is infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < LARGEST else None
