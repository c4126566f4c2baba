"""What the runs say of a difference to a reader who thinks in probabilities; a description, never a second verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev


@dataclass(frozen=True)
class Posterior:
    """The probabilities that the true difference is worse by more than the margin, within it, better by more."""

    worse: float
    within: float
    better: float


def posterior(differences: Sequence[float], margin: float) -> Posterior | None:
    """Of per-seed differences, + is better, under the reference prior: Student t(n - 1, mean, sd / sqrt(n)).

    Under that prior no size of difference is likelier than another before the runs, and neither is any log(sd); of one
    comparison alone. None for fewer than two differences, and where they do not vary.
    """
    from scipy.stats import t

    if len(differences) < 2 or not (deviation := stdev(differences)):
        return None
    belief = t(len(differences) - 1, fmean(differences), deviation / sqrt(len(differences)))
    worse, better = float(belief.cdf(-margin)), float(belief.sf(margin))
    return Posterior(worse, max(0.0, 1 - worse - better), better)
