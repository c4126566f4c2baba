"""Outcome: what one run came to, read from the files that it left."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import StorageError
from .contrast import LARGEST, plural
from .measures import (
    PARAMETERS,
    SENSITIVITY,
    SPEED_NOTE,
    SPIKES,
    STABILITY,
    TOKENS_PER_SECOND,
    Better,
    plain_name,
)
from .rows import read_rows

Status = Literal["completed", "diverged", "failed", "missing"]
_STATUS_IN_WORDS: dict[Status, str] = {"diverged": "diverged", "failed": "failed", "missing": "not yet there"}


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation set in the course of a run."""

    tokens: int
    seconds: float
    """Of training, validation left out."""
    loss: float


@dataclass(frozen=True)
class Outcome:
    """What one run came to: its measures by name, why it ended, and how its loss fell."""

    id: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    initial_loss: float | None = None
    """Of the first step: what a model that has learnt nothing scores."""
    stability: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """All that was observed, also what is no single number."""
    directions: Mapping[str, Better | None] = field(default_factory=dict, compare=False)
    """Which way is good, by metric, as the task says it."""
    evaluations: Sequence[Evaluation] = field(default=(), compare=False)
    tokens: float | None = None
    """It was trained on."""
    record: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """On which machine, with which versions."""

    @property
    def ended(self) -> bool:
        """Whether it was trained to its end, good or bad."""
        return self.status in ("completed", "diverged")

    def value(self, name: str) -> float | None:
        """The measure, None where there is none.

        A diverged run is not left out, which would favour what diverges: its loss is at most that of a model that has
        learnt nothing (Wortsman et al. 2023, arXiv:2309.14322).
        """
        found = measured(self.metrics.get(name)) if self.ended else None
        if self.status != "diverged" or plain_name(name) != "loss":
            return found
        if self.initial_loss is None:
            return None
        return self.initial_loss if found is None else min(found, self.initial_loss)


def outcome(directory: Path, run_id: str) -> Outcome:
    """Read what the run in ``directory`` came to; missing if it left neither ``result.json`` nor ``failure.json``.

    Raises StorageError, in one line, if a file is there and is not what a run writes.
    """
    file = directory / "result.json"
    result = _read(file, run_id)
    if result is None:
        failure = _read(directory / "failure.json", run_id)
        if failure is None:
            return Outcome(run_id, "missing")
        return Outcome(run_id, "failed", reason=str(failure.get("reason") or failure.get("kind") or "no reason given"))
    status = result.get("status")
    if status not in ("completed", "diverged"):
        raise StorageError(f"{file}: status: {status!r} is not completed or diverged")
    try:
        quality, efficiency = result["quality"], result["efficiency"]
        found = dict(quality["final"])
        for way in ("best", "mean_last"):
            found |= {f"{name}_{way}": value for name, value in quality.get(way, {}).items()}
        stability = dict(result.get("stability", {}))
        found |= {name: stability.get(name) for name in STABILITY}
        found[SPIKES] = _log_spike_score(stability, efficiency)
        found |= {name: efficiency.get(name) for name in (PARAMETERS, TOKENS_PER_SECOND)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StorageError(f"{file}: quality.final or efficiency is absent or no mapping") from error
    metrics = {name: number for name, value in found.items() if (number := measured(value)) is not None}
    reason = result.get("reason")
    return Outcome(
        run_id,
        status,
        metrics,
        None if reason is None else str(reason),
        measured(stability.get("initial_loss")),
        stability,
        quality.get("directions", {}),
        _evaluations(directory / "metrics.jsonl"),
        measured(efficiency.get("tokens")),
        record if isinstance(record := result.get("record"), dict) else {},
    )


def unfinished(outcomes: Iterable[Outcome], name: str) -> str | None:
    """``1 of 3 runs diverged, 1 failed``, or None if every planned run has the measure or ended as it should.

    None too for a sensitivity, which is no single run's: its values tell whether it is whole.
    """
    if name == SENSITIVITY:
        return None
    outcomes = list(outcomes)
    counts = Counter(run.status for run in outcomes if run.status != "diverged" or run.value(name) is None)
    parts = [(counts[status], words) for status, words in _STATUS_IN_WORDS.items() if counts[status]]
    if not parts:
        return None
    (first, words), *others = parts
    start = f"{first} of {plural(len(outcomes), 'run')} {words}"
    return ", ".join([start, *(f"{count} {words}" for count, words in others)])


def obstacle(outcomes: Iterable[Outcome], name: str) -> str | None:
    """Why no difference of that measure between these runs has an interval: what is unfinished, or no evidence."""
    return SPEED_NOTE if name == TOKENS_PER_SECOND else unfinished(outcomes, name)


def _log_spike_score(stability: Mapping[str, Any], efficiency: Mapping[str, Any]) -> float | None:
    """log10(share of steps that are spikes + 1 / steps), so that a run without any has a value too."""
    score, steps = measured(stability.get("spike_score")), measured(efficiency.get("steps"))
    return None if score is None or not steps else math.log10(score + 1 / steps)


def _evaluations(file: Path) -> list[Evaluation]:
    """The looks at the validation set, as far as their rows are whole and their losses finite."""
    rows = read_rows(file, having='"validation/loss"')
    found = ((row.get("tokens"), row.get("seconds"), measured(row["validation/loss"])) for row in rows)
    return [
        Evaluation(tokens, seconds, loss)
        for tokens, seconds, loss in found
        if loss is not None and isinstance(tokens, int) and isinstance(seconds, int | float)
    ]


def _read(file: Path, run_id: str) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"{file}: cannot be read: {str(error) or type(error).__name__}") from error
    if not isinstance(content, dict) or content.get("id", run_id) != run_id:
        raise StorageError(f"{file}: is not the result of run {run_id}")
    return content


def measured(value: object) -> float | None:
    """A number that can be averaged, or None: null, NaN, infinite, or so large that its square is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None
