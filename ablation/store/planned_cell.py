"""A cell of a plan beside what is stored of its runs: a small object, as a grid may have a hundred thousand."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """What a cell is, what it costs and how many of its runs are there."""

    label: str
    parameters: int
    flops_per_token: int
    cache_bytes: int | None
    """Of one sequence of the task's length; None: nothing is cached."""
    cache_bytes_per_token: int | None
    training_tokens: int
    """Of one run."""
    stops_early: bool
    """Whether a run may end before it has seen them all."""
    trained_parameters: int | None
    """None: all that there are."""
    training_bytes: int
    """Of weights, gradients and the optimizer's state."""
    states: Mapping[str, int]
    """How many runs are in each state."""
    planned: int
    """Runs."""
    finished: int
    """Runs that were trained to their ends."""
    seconds_per_run: float | None
