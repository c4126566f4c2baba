"""A campaign of runs that are stopped for a while, as by a machine that sleeps, and go on later."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from faults.stage import Findings, Stage, kill

MOMENT = (0.1, 0.6)
"""Seconds between two stops."""
SHORT, LONG = (0.2, 3.0), 30.0
"""Seconds that a run is stopped."""


class Sleepers:
    """The runs that are stopped, and when each goes on."""

    def __init__(self) -> None:
        self.ends: dict[int, float] = {}

    def stop(self, pid: int, seconds: float) -> None:
        kill(pid, signal.SIGSTOP)
        self.ends[pid] = time.monotonic() + seconds

    def wake(self) -> None:
        """Continue those whose time is over."""
        for pid in [pid for pid, end in self.ends.items() if end <= time.monotonic()]:
            kill(pid, signal.SIGCONT)
            del self.ends[pid]


@contextmanager
def sleepers() -> Iterator[Sleepers]:
    """All go on in the end, after the time that each was to be stopped."""
    stopped = Sleepers()
    try:
        yield stopped
    finally:
        while stopped.ends:
            time.sleep(0.05)
            stopped.wake()


def stopped_workers(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Runs are stopped for up to 3 seconds, every tenth for 30, and continued; after a quarter of the stops the command
    is killed and given again at once, so that the run is trained anew while the first process is stopped: a late one
    replaces nothing.
    """
    stage.quiet()
    done = 0
    with sleepers() as stopped:
        while done < count and stage.completed() < stage.n_runs:
            with stage.command() as driver:
                while driver.poll() is None:
                    time.sleep(rng.uniform(*MOMENT))
                    stopped.wake()
                    awake = [pid for pid in stage.workers_alive() if pid not in stopped.ends]
                    if not awake or done == count:
                        continue
                    done += 1
                    stopped.stop(rng.choice(awake), LONG if done % 10 == 0 else rng.uniform(*SHORT))
                    if rng.random() < 0.25:
                        kill(driver.pid)
                        driver.wait()
    return done, stage.conclude()
