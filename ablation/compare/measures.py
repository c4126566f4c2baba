"""Measure: the lens of a number, its better direction, and the margin below which a difference does not matter.

Margins here are defaults, which a grid can replace; every table prints those it used.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..stats.contrast import plural
from ..store.results import FAILED, LOG_SPIKE_SCORE, UNFINISHED, Better, RunResult, RunStatus, base_metric, measured

Lens = Literal["quality", "stability", "efficiency"]
Kind = Literal["seeds", "exact", "timed"]
LENSES: tuple[Lens, ...] = ("quality", "stability", "efficiency")

PARAMETERS = "parameters"
TOKENS_PER_SECOND = "tokens_per_second"
TOKENS_TO_BASELINE = "tokens_to_baseline"
SECONDS_TO_BASELINE = "seconds_to_baseline"
TIME_TO_BASELINE = (TOKENS_TO_BASELINE, SECONDS_TO_BASELINE)
SPIKES = LOG_SPIKE_SCORE
SENSITIVITY = "learning_rate_sensitivity"
BEST_RATE = "best_learning_rate"
SWEPT = (SENSITIVITY, BEST_RATE)
"""Measures that depend on the runs at all learning rates."""
TRAINING_STEP = "training_step"

SPEED_NOTE = "the speed of runs that trained side by side is no evidence"
_STATUS_TEXT: dict[RunStatus, str] = {
    "completed": "completed",
    "diverged": "diverged",
    **dict.fromkeys(FAILED, "failed"),
    **dict.fromkeys(UNFINISHED, "not finished"),
}


@dataclass(frozen=True)
class Measure:
    """One measure of every cell."""

    name: str
    lens: Lens
    kind: Kind = "seeds"
    """What its replicates are: seeds; nothing, since it is exact; or processes that timed it apart from training."""
    better: Better | None = None
    margin: float | None = None
    """The smallest difference that matters; None: not declared."""
    ratio: bool = False
    """Whether cells are compared by the logarithm of a ratio, rather than by a difference; so is the margin."""
    unit: str = ""
    """That of a metric that declares one."""


_MARGINS = {
    "loss": 0.01,
    "bits_per_character": 0.015,
    "bits_per_byte": 0.015,
    "accuracy": 0.005,
    "exact_match": 0.005,
    "macro_f1": 0.005,
    "pair_accuracy": 0.005,
    SENSITIVITY: 0.02,
    SPIKES: 0.30,  # twice as many spikes, as a power of ten
}
FRACTIONS = ("accuracy", "exact_match", "macro_f1", "pair_accuracy")
"""Measures between 0 and 1, as are their differences."""
_TIME = 0.03
_MEMORY = 0.02

_STABILITY: dict[str, Better | None] = {
    SENSITIVITY: "lower",
    BEST_RATE: None,
    SPIKES: "lower",
    "gradient_norm_median": None,
    "gradient_norm_max": "lower",
    "gradient_norm_tail": "lower",
    "clipped_fraction": "lower",
    "spike_score": "lower",
    "spikes": "lower",
    "attention_logit_max": "lower",
    "attention_logit_growth": "lower",
    "log_z": None,
    "log_z_growth": None,
    "update_ratio_median": None,
    "gradient_growth": None,
}
_EFFICIENCY = {
    measure.name: measure
    for measure in (
        Measure(PARAMETERS, "efficiency", "exact", "lower", 0.0),
        Measure("flops_per_token", "efficiency", "exact", "lower", 0.0),
        Measure("cache_bytes", "efficiency", "exact", "lower", 0.0),
        Measure("cache_bytes_per_token", "efficiency", "exact", "lower", 0.0),
        Measure(TRAINING_STEP, "efficiency", "timed", "lower", _TIME, ratio=True),
        Measure("prefill", "efficiency", "timed", "lower", _TIME, ratio=True),
        Measure("decode", "efficiency", "timed", "higher", _TIME, ratio=True),
        Measure("peak_memory_bytes", "efficiency", "exact", "lower", _MEMORY),
        Measure(TOKENS_PER_SECOND, "efficiency", "seeds"),
    )
}
STABILITY = tuple(_STABILITY)
EXACT = tuple(name for name, measure in _EFFICIENCY.items() if measure.kind == "exact")
TIMED = tuple(name for name, measure in _EFFICIENCY.items() if measure.kind == "timed")


def measures(
    names: Iterable[str],
    directions: Mapping[str, Better | None],
    margins: Mapping[str, float | None],
    units: Mapping[str, str] | None = None,
) -> dict[str, Measure]:
    """The measures of these names; ``directions`` and ``units`` come from metrics, ``margins`` from a grid."""
    known = {name: _measure(name, directions, units or {}) for name in names}
    return {
        name: replace(measure, margin=margins[name]) if name in margins else measure for name, measure in known.items()
    }


def _measure(name: str, directions: Mapping[str, Better | None], units: Mapping[str, str]) -> Measure:
    if name in _EFFICIENCY:
        return _EFFICIENCY[name]
    if name in _STABILITY:
        return Measure(name, "stability", better=_STABILITY[name], margin=_MARGINS.get(name))
    if name in TIME_TO_BASELINE:
        return Measure(name, "quality", better="lower", ratio=True)
    base = base_metric(name)
    better = directions.get(name, directions.get(base, "lower" if base in ("loss", "perplexity") else None))
    return Measure(name, "quality", better=better, margin=_MARGINS.get(base), unit=units.get(base, ""))


def measured_names(results: Iterable[RunResult]) -> list[str]:
    """The names of all measures of which a run has a value, in the order in which they are met."""
    names: dict[str, None] = {}
    for result in results:
        names.update(dict.fromkeys(result.metrics))
        monitored = result.stability
        names.update(dict.fromkeys(n for n in STABILITY if n not in names and measured(monitored.get(n)) is not None))
    return [*names]


def unfinished(results: Iterable[RunResult], name: str) -> str | None:
    """``1 of 3 runs diverged, 1 failed``, or None if every planned run has the measure.

    None for a sensitivity too, which depends on the runs of several cells and is None where one of them is missing.
    """
    if name in SWEPT:
        return None
    results = list(results)
    counts = without(results, name)
    return unfinished_in_words(counts, len(results)) if counts else None


def without(results: Sequence[RunResult], name: str) -> Counter[str]:
    """How many runs do not have the measure, by how they ended."""
    if all(run.status == "completed" for run in results):  # which most are, and are asked for every measure
        return Counter()
    return Counter(
        _STATUS_TEXT[run.status]
        for run in results
        if run.status != "completed" and (run.status != "diverged" or run.value(name) is None)
    )


def unfinished_in_words(counts: Mapping[str, int], n_runs: int) -> str | None:
    """As ``unfinished``, of so many runs."""
    parts = [(counts[text], text) for text in ("diverged", "failed", "not finished") if counts.get(text)]
    if not parts:
        return None
    (first, text), *others = parts
    start = f"{first} of {plural(n_runs, 'run')} {text}"
    return ", ".join([start, *(f"{count} {text}" for count, text in others)])


def reason_missing(results: Iterable[RunResult], name: str) -> str | None:
    """Why a difference of that measure between these runs has no interval, None where it has one."""
    return SPEED_NOTE if name == TOKENS_PER_SECOND else unfinished(results, name)
