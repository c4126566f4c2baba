"""The states a run can be in, read from its files."""

from dataclasses import dataclass
from typing import Literal

SCHEMA = 1
"""Of run.json, result.json and failure.json."""

WEIGHTS = "weights.safetensors"
"""What a completed run has learnt, unless training.keep_weights is off."""

State = Literal["completed", "diverged", "failed", "oom", "killed", "missing"]
"""``killed`` and ``missing`` are trained by the next command; ``failed`` and ``oom`` only when asked to."""

ENDED_BADLY = ("failed", "oom", "killed")

RETRIES = ("failed", "oom", "diverged", "drifted")
"""What can be trained again on request; drifted: trained by other code than today's."""


@dataclass(frozen=True)
class Ending:
    """How a run ended, and why, in one line; no reason where all went well or nothing is there yet."""

    state: State
    reason: str | None = None
