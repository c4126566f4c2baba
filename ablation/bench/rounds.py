"""Interleaved timing: what slows the machine down slows all cells, so that their ratio within a round is unaffected.

Every round times every cell once, in a new random order, and a reference job that is always the same. Cells that were
timed one after the other, each in a block of its own, would show the drift of the machine as a difference.
"""

import math
import timeit
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Generator

MIN_SECONDS = 0.02
"""Shortest timing, so that neither the clock's resolution nor one interrupt matters."""
WARM_UP = 2
"""Calls before the first timing."""
MAX_SLOWDOWN = 1.5
"""A round is dropped when its reference job took more than this many times that job's median."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Job:
    """What is timed: ``repeats`` calls of ``run``; not what prepares them, nor entering and leaving what is around."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    repeats: int = 1

    def seconds(self, clock: Clock) -> float:
        """Seconds of one call of ``run``, the mean over the repeats."""
        self.prepare()
        with self.around():
            return timeit.timeit(self.run, timer=clock, number=self.repeats) / self.repeats

    def calibrated(self, clock: Clock) -> "Job":
        """The same job, warmed up, with as many repeats as make one timing long enough."""
        self.prepare()
        with self.around():
            for _ in range(WARM_UP):
                self.run()
        job = self
        while job.seconds(clock) * job.repeats < MIN_SECONDS:
            job = replace(job, repeats=2 * job.repeats)
        return job


@dataclass(frozen=True)
class Round:
    """Seconds per call of every cell's job, by label, and of the reference job."""

    seconds: Mapping[str, float]
    reference: float


def time_round(jobs: Mapping[str, Job], reference_job: Job, clock: Clock, random: Generator) -> Round:
    """Every job and the reference job once, in a random order."""
    entries = [*jobs.items(), (None, reference_job)]
    order = torch.randperm(len(entries), generator=random).tolist()
    seconds = {label: job.seconds(clock) for label, job in (entries[index] for index in order)}
    return Round({label: seconds[label] for label in jobs}, seconds[None])


def undisturbed_rounds(rounds: Sequence[Round]) -> list[Round]:
    """The rounds whose reference job was not slowed down; at least half, by the definition of a median."""
    usual = median(one.reference for one in rounds)
    return [one for one in rounds if one.reference <= MAX_SLOWDOWN * usual]


def typical_seconds(rounds: Sequence[Round], label: str) -> float:
    """Seconds per call of a cell's job, the median over rounds."""
    return median(one.seconds[label] for one in rounds)


def log_ratio(rounds: Sequence[Round], label: str, baseline: str) -> float:
    """The median over rounds of log(seconds of the cell / seconds of the baseline in the same round)."""
    return median(math.log(one.seconds[label] / one.seconds[baseline]) for one in rounds)


def make_reference_job(device: torch.device) -> Job:
    """The product of two fixed 256 x 256 matrices in float32."""
    x = torch.linspace(-1, 1, 256 * 256, device=device).view(256, 256)
    return Job(lambda: x @ x)
