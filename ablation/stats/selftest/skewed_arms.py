"""Check M: one arm whose noise is skewed, or where a rare run goes bad, at equal means: no test of few seeds mends it.

Where the rare run happens to be missing, the arm looks better in every seed, and nothing in the table shows it. So
these checks state limits that docs/statistics.md documents: how often a comparison is wrong, and how often the note
"one run is far off" is there.
"""

from collections.abc import Iterator

import numpy

from ..robustness import far_off
from ..sequential import ALPHA
from .base import Array, Check, Mask, at_least, at_most, slack
from .grids import skewed, standard_normal, uniform
from .tables import tests

SEEDS, GRIDS = 5, 20_000
QUIET = 0.1
"""Standard deviation of the baseline beside that of the skewed arm; the more alike they are, the less it matters."""
RARE, SIZE = 0.05, 20.0
"""How often a run goes bad, and by how many standard deviations of the others."""
SHOWN = 3000
"""At most so many cells are searched for a run far off."""


def limits_of_means(grids: int, quick: bool) -> Iterator[Check]:
    """M: the documented limits at equal means."""
    del grids, quick  # as quick with many
    baseline = QUIET * standard_normal([GRIDS, SEEDS], "M baseline")
    bad = _rare()
    arms = (
        ("strongly skewed", skewed([GRIDS, SEEDS], 1.5, "M skewed"), 0.05),
        (f"of which {RARE:.0%} of runs are {SIZE:g} sd worse", bad, 0.01),
    )
    for name, arm, least in arms:
        false = tests((arm - baseline)[:, None], False).p[:, 0] < ALPHA
        what = f"documented limit: false claim per comparison at equal means, one arm {name}"
        yield at_most("M", what, false.mean(), 0.36)
        notes = _noted(arm[false]) | _noted(baseline[false])
        what = f'documented limit: such false claims beside which "one run is far off" shows, one arm {name}'
        yield at_least("M", what, notes.mean(), least)
    once = bad[(bad > SIZE / 2).sum(-1) == 1]
    yield at_least("M", '"one run is far off" shows where one run of five did go bad', _noted(once).mean(), 0.85)
    alike = _noted(standard_normal([SHOWN, SEEDS], "M alike")).mean()
    yield at_most("M", '"one run is far off" of a cell with normal noise', alike, 0.0125 + slack(SHOWN, 0.01))


def _rare() -> Array:
    """The metric of an arm, higher is worse: rare bad runs, and others as much better that the mean is 0."""
    happened = uniform([GRIDS, SEEDS], "M rare") < RARE
    return standard_normal([GRIDS, SEEDS], "M arm") + SIZE * (happened - RARE)


def _noted(values: Array) -> Mask:
    return numpy.array([far_off(row) is not None for row in values[:SHOWN].tolist()], dtype=bool)
