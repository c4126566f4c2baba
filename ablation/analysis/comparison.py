"""The comparison of a grid: every cell against the baseline, and what each factor does on average.

``outcome`` reads what one run left, ``compare`` turns the outcomes of a grid into a ``Comparison``, and every format of
the table is rendered from that. A run that diverged, failed or is not there yet is counted and never dropped.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from ..errors import InputError, StorageError, nearest
from .contrast import LARGEST, Contrast, paired, plural

Status = Literal["completed", "diverged", "failed", "missing"]
Better = Literal["lower", "higher"]

PARAMETERS = "parameters"
TOKENS_PER_SECOND = "tokens_per_second"
EFFICIENCY = (PARAMETERS, TOKENS_PER_SECOND)

_STATUS_IN_WORDS: dict[Status, str] = {"diverged": "diverged", "failed": "failed", "missing": "not yet there"}
_SPEED_NOTE = "the speed of runs that trained side by side is no evidence"


@dataclass(frozen=True)
class Outcome:
    """What one run came to: its final quality metrics by name, parameters, tokens per second; and why it ended."""

    id: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one cell; ``values`` are per seed in the order of the grid's seeds, None where there is none."""

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    sd: float | None
    contrast: Contrast | None
    """To the baseline; None for the baseline itself."""


@dataclass(frozen=True)
class CellComparison:
    """One cell of the grid: what it is, how its runs ended (in the order of the seeds), and its metrics."""

    label: str
    settings: Mapping[str, Any]
    levels: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    metrics: Mapping[str, MetricComparison]

    def count(self, status: Status) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def complete(self) -> bool:
        return self.count("completed") == len(self.outcomes)


@dataclass(frozen=True)
class Effect:
    """What a level does on average: cells with it minus cells with the baseline's level, ``cells`` on either side."""

    path: str
    name: str
    level: str
    baseline: str
    cells: int
    contrasts: Mapping[str, Contrast]


@dataclass(frozen=True)
class Comparison:
    """A grid compared; the first cell is the baseline."""

    grid: str
    metric: str
    better: Better | None
    """The good direction of ``metric``; None where the grid does not say (a metric other than its own)."""
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    """Of all metrics: the chosen one, the other measures of quality, then parameters and tokens per second."""
    cells: tuple[CellComparison, ...]
    effects: tuple[Effect, ...]
    effects_note: str | None
    """Why there are no main effects although there is more than one factor."""

    @property
    def baseline(self) -> CellComparison:
        return self.cells[0]

    @property
    def other_quality(self) -> tuple[str, ...]:
        """The measures of quality that the table is not about."""
        return tuple(name for name in self.names if name != self.metric and name not in EFFICIENCY)

    def measured(self, name: str) -> bool:
        """Whether any cell has a value of that metric."""
        return any(cell.metrics[name].mean is not None for cell in self.cells)


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
        efficiency = result["efficiency"]
        found = {**result["quality"]["final"], **{name: efficiency.get(name) for name in EFFICIENCY}}
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{file}: quality.final or efficiency is absent or no mapping") from error
    metrics = {name: number for name, value in found.items() if (number := _measured(value)) is not None}
    reason = result.get("reason")
    return Outcome(run_id, status, metrics, None if reason is None else str(reason))


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


def _measured(value: object) -> float | None:
    """A number that can be averaged, or None: null, NaN, infinite, or so large that its square is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None


def compare(manifest: Mapping[str, Any], outcomes: Mapping[str, Outcome], metric: str | None = None) -> Comparison:
    """Compare every cell of the grid in ``manifest`` to its baseline; ``outcomes`` are by run id, absent means missing.

    ``metric`` is the one the table is about, by default the grid's own. Raises InputError if no run has measured it.
    """
    seeds = tuple(manifest["seeds"])
    by_cell = [_outcomes(cell, seeds, outcomes) for cell in manifest["cells"]]
    chosen = metric or manifest["metric"]
    names = _names(chosen, (outcome for cell in by_cell for outcome in cell))
    cells: list[CellComparison] = []
    for cell, ended in zip(manifest["cells"], by_cell, strict=True):
        metrics = {name: _metric(name, ended, cells[0] if cells else None) for name in names}
        cells.append(CellComparison(cell["label"], cell["settings"], cell["levels"], ended, metrics))
    effects, effects_note = _effects(manifest["factors"], cells, names)
    better = manifest["better"] if chosen == manifest["metric"] else None
    return Comparison(manifest["grid"], chosen, better, seeds, names, tuple(cells), effects, effects_note)


def _outcomes(cell: Mapping[str, Any], seeds: Sequence[int], outcomes: Mapping[str, Outcome]) -> tuple[Outcome, ...]:
    ids = {run["seed"]: run["id"] for run in cell["runs"]}
    return tuple(outcomes.get(ids[seed], Outcome(ids[seed], "missing")) for seed in seeds)


def _names(chosen: str, outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    measured = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
    quality = [name for name in measured if name not in EFFICIENCY]
    # Before the first run has ended nothing is measured, and the table of what is planned is still wanted.
    if quality and chosen not in measured:
        raise InputError(f"metric: no run has measured {chosen!r}; measured: {', '.join(measured)}"
                         f"{nearest(chosen, measured)}")  # fmt: skip
    return tuple(dict.fromkeys([chosen, *quality, *EFFICIENCY]))


def _metric(name: str, outcomes: Sequence[Outcome], baseline: CellComparison | None) -> MetricComparison:
    # The parameters are a fact of the configuration; a run need not survive to have them.
    counted = ("completed", "diverged") if name == PARAMETERS else ("completed",)
    values = tuple(_measured(run.metrics.get(name)) if run.status in counted else None for run in outcomes)
    present = [value for value in values if value is not None]
    contrast = None
    if baseline is not None:
        obstacle = _SPEED_NOTE if name == TOKENS_PER_SECOND else _unfinished(outcomes)
        if obstacle is None and (why := _unfinished(baseline.outcomes)):
            obstacle = f"baseline: {why}"
        contrast = paired(values, baseline.metrics[name].values, obstacle)
    return MetricComparison(
        name, values, fmean(present) if present else None, stdev(present) if len(present) > 1 else None, contrast
    )


def _unfinished(outcomes: Sequence[Outcome]) -> str | None:
    """``1 of 3 runs diverged, 1 failed``, or None if every planned run completed."""
    counts = Counter(outcome.status for outcome in outcomes)
    parts = [(counts[status], words) for status, words in _STATUS_IN_WORDS.items() if counts[status]]
    if not parts:
        return None
    (first, words), *others = parts
    start = f"{first} of {plural(len(outcomes), 'run')} {words}"
    return ", ".join([start, *(f"{count} {words}" for count, words in others)])


def _effects(
    factors: Sequence[Mapping[str, Any]], cells: Sequence[CellComparison], names: Sequence[str]
) -> tuple[tuple[Effect, ...], str | None]:
    varied = [factor for factor in factors if len(factor["levels"]) > 1]
    if len(varied) < 2:
        return (), None  # with one factor the main effects are the rows of the table
    planned = set(product(*(factor["levels"] for factor in varied)))
    there = Counter(tuple(cell.levels[factor["path"]] for factor in varied) for cell in cells)
    if set(there) != planned or max(there.values()) > 1:
        found = len(planned & set(there))
        return (), f"not a full factorial, {found} of {len(planned)} combinations of levels are there"
    effects = tuple(
        _effect(factor, level, cells, names)
        for factor in varied
        for level in factor["levels"]
        if level != factor["baseline"]
    )
    return effects, None


def _effect(factor: Mapping[str, Any], level: str, cells: Sequence[CellComparison], names: Sequence[str]) -> Effect:
    path, reference = factor["path"], factor["baseline"]
    having = [cell for cell in cells if cell.levels[path] == level]
    against = [cell for cell in cells if cell.levels[path] == reference]
    unfinished = _unfinished([outcome for cell in [*having, *against] for outcome in cell.outcomes])
    contrasts = {}
    for name in names:
        values, references = _per_seed(having, name), _per_seed(against, name)
        # An average over fewer cells on one side would compare different sets of cells, so there is none at all.
        if unfinished is not None:
            values = [None] * len(values)
        contrasts[name] = paired(values, references, unfinished or (_SPEED_NOTE if name == TOKENS_PER_SECOND else None))
    return Effect(path, factor["name"], level, reference, len(having), contrasts)


def _per_seed(cells: Sequence[CellComparison], name: str) -> list[float | None]:
    """For each seed the mean over the cells, or None where a cell has no value."""
    means: list[float | None] = []
    for column in zip(*(cell.metrics[name].values for cell in cells), strict=True):
        present = [value for value in column if value is not None]
        means.append(fmean(present) if len(present) == len(column) else None)
    return means
