"""Measure: what a number says, under which lens, which way is good, and how small a difference does not matter.

Margins are the defaults of a grid that declares none of its own; every table prints the ones it used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Lens = Literal["quality", "stability", "efficiency"]
Better = Literal["lower", "higher"]
Kind = Literal["seeds", "exact", "timed"]
LENSES: tuple[Lens, ...] = ("quality", "stability", "efficiency")

PARAMETERS = "parameters"
TOKENS_PER_SECOND = "tokens_per_second"
TOKENS_TO_BASELINE = "tokens_to_baseline"
SECONDS_TO_BASELINE = "seconds_to_baseline"
SPIKES = "log_spike_score"
SENSITIVITY = "learning_rate_sensitivity"
TRAINING_STEP = "training_step"

SPEED_NOTE = "the speed of runs that trained side by side is no evidence"

OTHER_WAYS = ("_best", "_mean_last")
"""Endings of the same metric looked at otherwise: its best evaluation, the mean of its last ones."""


@dataclass(frozen=True)
class Measure:
    """One measure of every cell."""

    name: str
    lens: Lens
    kind: Kind = "seeds"
    """Its replicates: seeds; none, since it is exact; or processes that timed it apart from training."""
    better: Better | None = None
    margin: float | None = None
    """A difference within it does not matter; None: that was not declared."""
    ratio: bool = False
    """Whether cells are compared by the logarithm of a ratio rather than by a difference; the margin is one of it."""


_MARGINS = {
    "loss": 0.01,
    "bits_per_character": 0.015,
    "bits_per_byte": 0.015,
    "accuracy": 0.005,
    "exact_match": 0.005,
    "macro_f1": 0.005,
    SENSITIVITY: 0.02,
    SPIKES: 0.30,  # twice as many spikes, as a power of ten
}
_TIME = 0.03
_MEMORY = 0.02

_STABILITY: dict[str, Better | None] = {
    SENSITIVITY: "lower",
    SPIKES: "lower",
    "gradient_norm_median": None,
    "gradient_norm_max": "lower",
    "gradient_norm_tail": "lower",
    "clipped_share": "lower",
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
    margins: Mapping[str, float],
) -> dict[str, Measure]:
    """What is known of each of ``names``.

    ``directions`` are those that a task says of its metrics, ``margins`` those that a grid declares.
    """
    found = {name: _measure(name, directions) for name in names}
    return {
        name: replace(measure, margin=margins[name]) if name in margins else measure for name, measure in found.items()
    }


def plain_name(name: str) -> str:
    """``accuracy@4x_best`` -> ``accuracy``."""
    for ending in OTHER_WAYS:
        name = name.removesuffix(ending)
    return name.partition("@")[0]


def _measure(name: str, directions: Mapping[str, Better | None]) -> Measure:
    if name in _EFFICIENCY:
        return _EFFICIENCY[name]
    if name in _STABILITY:
        return Measure(name, "stability", better=_STABILITY[name], margin=_MARGINS.get(name))
    if name in (TOKENS_TO_BASELINE, SECONDS_TO_BASELINE):
        return Measure(name, "quality", better="lower", ratio=True)
    known = plain_name(name)
    better = directions.get(name, directions.get(known, "lower" if known in ("loss", "perplexity") else None))
    return Measure(name, "quality", better=better, margin=_MARGINS.get(known))
