"""How soon a run is as good as the baseline in the end: in tokens, and in seconds of training."""

from .measures import SECONDS_TO_BASELINE, TOKENS_TO_BASELINE
from .outcome import Outcome

REACHING = (TOKENS_TO_BASELINE, SECONDS_TO_BASELINE)


def reached(name: str, run: Outcome | None, baseline: Outcome | None) -> float | None:
    """The tokens or seconds at which ``run`` first had the last validation loss of ``baseline``; None if it never had.

    Between two evaluations the loss is taken to fall along a straight line.
    """
    if run is None or baseline is None or not run.evaluations or not baseline.evaluations:
        return None
    wanted = baseline.evaluations[-1].loss
    before = None
    for evaluation in run.evaluations:
        here = float(evaluation.tokens if name == TOKENS_TO_BASELINE else evaluation.seconds)
        if evaluation.loss <= wanted:
            if before is None:
                return here
            share = (before[1] - wanted) / (before[1] - evaluation.loss)
            return before[0] + share * (here - before[0])
        before = (here, evaluation.loss)
    return None
