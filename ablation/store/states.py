"""The states a run can be in, read from its files."""

from typing import Literal

State = Literal["completed", "diverged", "failed", "oom", "killed", "missing"]
"""``killed`` and ``missing`` are trained by the next command; ``failed`` and ``oom`` only when asked to."""

ENDED_BADLY = ("failed", "oom", "killed")

RETRIES = ("failed", "oom", "diverged", "drifted")
"""What can be trained again on request; drifted: trained by other code than today's."""
