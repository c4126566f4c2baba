"""Launcher: who trains runs. The queue gives it orders, and it says how each attempt at one ended."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..store.attempts import Ended, Order

CANCELED = "canceled"
"""The cause of an end that was asked for, from which nothing follows for the other runs."""


class Launcher(Protocol):
    """Trains what it is ordered to, several runs at once.

    Whatever it does by itself, an attempt becomes the run by ``store.attempts.commit`` and nothing else, so that two
    launchers that train the same run cost double work and never a wrong result.
    """

    @property
    def workers(self) -> int:
        """How many runs are expected to train at once."""

    @property
    def free(self) -> int:
        """How many more orders it takes now."""

    @property
    def running(self) -> Mapping[str, Order]:
        """The orders at work, by the ids of their runs."""

    def start(self, order: Order) -> None:
        """Begin an attempt; how it went, ``wait`` says."""

    def wait(self, seconds: float) -> Sequence[Ended]:
        """The attempts that have ended since the last call, as soon as one does; none after ``seconds``."""

    def stop(self, patience: float) -> Sequence[Ended]:
        """End all attempts: ask them to write down what they go on from, and kill those that take longer."""


@runtime_checkable
class Detachable(Protocol):
    """A launcher whose runs go on without the command."""

    def leave(self) -> None:
        """Hand over what was started, and leave it."""


@runtime_checkable
class Isolating(Protocol):
    """A launcher that can give one run a place of its own, beside the others at work."""

    @property
    def shares_gpus(self) -> bool:
        """Whether other runs are given such a place together."""

    def start_alone(self, order: Order) -> None:
        """Begin an attempt with all the memory that a task has."""
