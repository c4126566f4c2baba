"""Interleaved timing: what a busy machine does to one arm it does to all, so their ratio within a round stands.

Every round times every arm once, in an order drawn anew, and a canary: a job that never changes. Arms timed one after
another, each in a block of its own, take the drift of the machine for a difference between them.
"""

import math
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Generator

ENOUGH = 0.02
"""Seconds that one timing takes at least, so that neither the clock's grain nor one interrupt decides it."""
WARM_UP = 2
"""Calls before the first timing."""
TOO_SLOW = 1.5
"""A round is dropped when its canary took more than so many times the canary's median."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Job:
    """What is timed: ``run``, ``repeats`` times over; ``prepare`` goes before and is not timed."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    repeats: int = 1

    def seconds(self, clock: Clock) -> float:
        """Of one call of ``run``, a mean over the repeats."""
        self.prepare()
        return timeit.timeit(self.run, timer=clock, number=self.repeats) / self.repeats

    def calibrated(self, clock: Clock) -> "Job":
        """The same, warm, with as many repeats as make one timing long enough."""
        self.prepare()
        for _ in range(WARM_UP):
            self.run()
        job = self
        while job.seconds(clock) * job.repeats < ENOUGH:
            job = replace(job, repeats=2 * job.repeats)
        return job


@dataclass(frozen=True)
class Round:
    """Seconds per call of every arm, by label, and of the canary."""

    seconds: Mapping[str, float]
    canary: float


def time_round(arms: Mapping[str, Job], canary: Job, clock: Clock, random: Generator) -> Round:
    """Every arm and the canary once, in an order drawn from ``random``."""
    jobs = [*arms.items(), (None, canary)]
    order = torch.randperm(len(jobs), generator=random).tolist()
    timed = {label: job.seconds(clock) for label, job in (jobs[index] for index in order)}
    return Round({label: timed[label] for label in arms}, timed[None])


def undisturbed_rounds(rounds: Sequence[Round]) -> list[Round]:
    """Those whose canary was not held up; by the definition of a median never fewer than half."""
    usual = median(one.canary for one in rounds)
    return [one for one in rounds if one.canary <= TOO_SLOW * usual]


def typical_seconds(rounds: Sequence[Round], label: str) -> float:
    """Per call of an arm: the median over rounds."""
    return median(one.seconds[label] for one in rounds)


def log_ratio(rounds: Sequence[Round], label: str, baseline: str) -> float:
    """The median over rounds of log(seconds of the arm / seconds of the baseline in the same round)."""
    return median(math.log(one.seconds[label] / one.seconds[baseline]) for one in rounds)


def make_reference_job(device: torch.device) -> Job:
    """A product of two fixed matrices of 256 by 256 in 32-bit numbers."""
    x = torch.linspace(-1, 1, 256 * 256, device=device).view(256, 256)
    return Job(lambda: x @ x)
