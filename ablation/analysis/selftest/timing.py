"""Check G: the speed of two equal cells on a machine that drifts, as it is measured: in pairs, in random order."""

from collections.abc import Iterator

import numpy

from ..looks import ALPHA
from .check import Check, at_least, at_most, slack
from .decisions import p_difference
from .noise import Array, standard_normal, uniform

PROCESSES, ROUNDS = 5, 30


def timings(grids: int, quick: bool) -> Iterator[Check]:
    """Per process the median over rounds of log(time / time of the baseline), then a t over processes."""
    del quick
    slots = _machine(grids).reshape(grids, PROCESSES, ROUNDS, 2)
    first = uniform([grids, PROCESSES, ROUNDS], "G order") < 0.5
    ratio = numpy.where(first, 1, -1) * (slots[..., 0] - slots[..., 1])
    paired = (p_difference(numpy.median(ratio, axis=-1)) < ALPHA).mean()
    yield at_most(
        "G", "false claim of speed, pairs in random order on a drifting machine", paired, 0.055 + slack(grids)
    )
    halves = _machine(grids).reshape(grids, PROCESSES, 2, ROUNDS)
    blocked = numpy.median(halves[:, :, 1], axis=-1) - numpy.median(halves[:, :, 0], axis=-1)
    rate = (p_difference(blocked) < ALPHA).mean()
    yield at_least("G", "control: one cell after the other, must be caught", rate, 0.055 + slack(grids))


def _machine(grids: int) -> Array:
    """Log times of equal work, slot after slot: it warms, its clock wanders, and others' work slows some slots."""
    slots = 2 * ROUNDS
    noise = 0.03 * standard_normal([grids, PROCESSES, slots], "G noise")
    wander = 0.01 * numpy.cumsum(standard_normal([grids, PROCESSES, slots], "G wander"), axis=-1)
    bursts = 0.3 * (uniform([grids, PROCESSES, slots], "G bursts") < 0.05)
    return numpy.linspace(0, 0.1, slots) + noise + wander + bursts
