"""Stopping a run on request."""


class Stopped(Exception):  # noqa: N818 - no fault
    """A run was asked to stop, and has written down what it goes on from."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}")
        self.step = step


def never() -> bool:
    """Nobody asks the run to stop."""
    return False
