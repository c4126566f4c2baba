"""The interval of a mean difference over seeds and validation examples, both as samples.

A paired t over seeds holds for the validation set as it is. Here its examples are a sample too, from all that could
have been there (crossed random effects, as in Clark 1973, doi 10.1016/S0022-5371(73)80014-3): the difference of seed s
on example e is

    d[s, e] = mean + a[s] + b[e] + r[s, e]

with one observation per pair. By the mean squares of the two-way layout (Cornfield and Tukey 1956,
doi 10.1214/aoms/1177728067) the variance of the mean over S seeds and E examples is estimated by

    MS_seeds / (S E)  +  max(0, MS_examples - MS_residual) / (S E)

whose first term is the squared standard error of the paired t, so that the second is what examples add. The degrees of
freedom are Satterthwaite's (1946, doi 10.2307/3002019).

Examples of different numbers of targets: the mean difference is per target, so that an example counts by its targets.
This ratio of two means is linearized (Cochran 1977, Sampling Techniques, section 6.3): the layout above is that of
n[e] / mean(n) times the deviation of d[s, e] from its seed's mean, which for equal n are the deviations themselves.
"""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from .contrast import CONFIDENCE, MINIMUM_SEEDS
from .shared_variance import Variance

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[float64]

MINIMUM_EXAMPLES = 8
"""With fewer examples nothing is said of others."""
MOST_BLOCKS = 16
"""Consecutive examples are joined into at most so many blocks: windows of one text that lie side by side resemble each
other, long blocks of them hardly do. Independent examples lose nothing but degrees of freedom, of which 15 do."""


@dataclass(frozen=True)
class Crossed:
    """A mean difference per target with its interval over seeds and examples, in the unit of the metric.

    ``seeds``, ``examples`` and ``residual`` are the components of variance: of a seed, of a block of examples, and of
    the two together; those of examples are per block of mean size, and none is below 0. ``added``: by which fraction
    the examples raise the standard error over seeds alone.
    """

    mean: float
    interval: tuple[float, float]
    standard_error: float
    degrees: float
    added: float
    seeds: float
    examples: float
    residual: float
    n_seeds: int
    n_blocks: int
    """How many blocks the examples were joined into."""
    n_examples: int


def crossed(
    differences: "ArrayLike",
    counts: "ArrayLike",
    confidence: float = CONFIDENCE,
    variance: Variance | None = None,
) -> Crossed | None:
    """The interval over seeds and examples; None for too few of either, and where the seeds do not differ.

    ``differences`` (seeds, examples) are sums of losses of a cell minus those of the baseline with the same seed on the
    same example; ``counts`` (examples,) the number of targets, 0 where an example has none, which leaves it out.
    ``variance`` is that of the seeds' differences where other cells had a part in it; else they have their own.
    """
    import numpy
    from scipy.special import stdtrit

    sums, targets = numpy.asarray(differences, dtype=float), numpy.asarray(counts, dtype=float)
    assert sums.ndim == 2 and targets.shape == sums.shape[1:], "one count for each example"
    n_examples = int((targets > 0).sum())
    if len(sums) < MINIMUM_SEEDS or n_examples < MINIMUM_EXAMPLES:
        return None
    sums, targets = _blocks(sums[:, targets > 0], targets[targets > 0])
    n_seeds, n_blocks = sums.shape
    by_seed = sums.sum(1) / targets.sum()
    mean = float(by_seed.mean())
    deviations = (sums - targets * by_seed[:, None]) / targets.mean()  # n / mean(n) (d - the seed's mean)
    of_block = deviations.mean(0)
    ms_seeds = n_blocks * float(numpy.var(by_seed, ddof=1))
    ms_blocks = n_seeds * float((of_block**2).sum()) / (n_blocks - 1)
    ms_residual = float(((deviations - of_block) ** 2).sum()) / ((n_seeds - 1) * (n_blocks - 1))
    if variance is not None:
        ms_seeds = n_blocks * variance.value
    size, degrees_seeds = n_seeds * n_blocks, n_seeds - 1.0 if variance is None else variance.degrees
    if not ms_seeds > 0:
        return None
    examples = max(0.0, ms_blocks - ms_residual)
    total = ms_seeds + examples
    uncertainty = ms_seeds**2 / degrees_seeds
    if examples:
        uncertainty += ms_blocks**2 / (n_blocks - 1) + ms_residual**2 / ((n_seeds - 1) * (n_blocks - 1))
    degrees = total**2 / uncertainty
    error = sqrt(total / size)
    half_width = max(
        -float(stdtrit(degrees, (1 - confidence) / 2)) * error,
        # With more degrees of freedom it could be narrower than that over seeds alone, which claims less.
        -float(stdtrit(degrees_seeds, (1 - confidence) / 2)) * sqrt(ms_seeds / size),
    )
    return Crossed(
        mean=mean,
        interval=(mean - half_width, mean + half_width),
        standard_error=error,
        degrees=degrees,
        added=sqrt(total / ms_seeds) - 1,
        seeds=max(0.0, ms_seeds - ms_residual) / n_blocks,
        examples=examples / n_seeds,
        residual=ms_residual,
        n_seeds=n_seeds,
        n_blocks=n_blocks,
        n_examples=n_examples,
    )


def _blocks(sums: "Array", counts: "Array") -> tuple["Array", "Array"]:
    """Sums of losses (seeds, blocks) and numbers of targets (blocks,) of consecutive examples, of nearly equal size."""
    import numpy

    n_examples = len(counts)
    starts = numpy.unique(numpy.linspace(0, n_examples, min(n_examples, MOST_BLOCKS), endpoint=False).astype(int))
    return numpy.add.reduceat(sums, starts, axis=1), numpy.add.reduceat(counts, starts)
