"""Sweep: in a grid that varies the learning rate, how much each of its other settings depends on it."""

# DOC-TO-MERGE: 'How soon a run is as good as the baseline in the end: in tokens, and in seconds of training.'

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Any

from ..store.results import RunResult
from .measures import TOKENS_TO_BASELINE
from .stability import learning_rate_sensitivity

FEWEST_RATES = 4


def learning_rate_factor(factors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The factor that is the learning rate, if it has enough levels to tell a sensitivity from."""
    for factor in factors:
        if factor["path"] in ("optimizer.lr", "lr") and len(factor["levels"]) >= FEWEST_RATES:
            return factor
    return None


def sensitivities(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[tuple[str, Mapping[str, str], Sequence[RunResult | None]]],
) -> dict[str, tuple[float | None, ...]]:
    """Seed by seed, by the label of the cell: cells that differ in the learning rate alone share one.

    ``cells`` are (label, levels, outcomes seed by seed), the baseline first. Cells that the design did not cross with
    every rate have none, as one over other rates would not compare; with the baseline or all others among these, none
    has. Seeds that lack a run at any rate have none. What diverged counts as not having learned anything.
    """
    swept = learning_rate_factor(factors)
    if swept is None:
        return {}
    groups: dict[tuple[str, ...], list[tuple[str, float, Sequence[RunResult | None]]]] = {}
    for label, levels, outcomes in cells:
        key = tuple(level for path, level in levels.items() if path != swept["path"])
        groups.setdefault(key, []).append((label, float(levels[swept["path"]]), outcomes))
    whole = [group for group in groups.values() if len(group) == len(swept["levels"])]
    if len(whole) < min(2, len(groups)) or next(iter(groups.values())) not in whole:
        return {}
    found: dict[str, tuple[float | None, ...]] = {}
    for group in whole:
        by_seed = zip(*(outcomes for _, _, outcomes in group), strict=True)
        values = tuple(_of_seed([rate for _, rate, _ in group], list(runs)) for runs in by_seed)
        found |= {label: values for label, _, _ in group}
    return found


def _of_seed(rates: Sequence[float], runs: Sequence[RunResult | None]) -> float | None:
    losses = {}
    initial = [run.initial_loss for run in runs if run is not None and run.initial_loss is not None]
    if not initial or len(runs) < FEWEST_RATES:
        return None
    for rate, run in zip(rates, runs, strict=True):
        loss = None if run is None else run.value("loss")
        if loss is None and (run is None or run.status != "diverged"):
            return None
        losses[rate] = [inf if loss is None else loss]  # diverged at its first step: as good as nothing learned
    return learning_rate_sensitivity(losses, fmean(initial))[0]


def time_to_target(name: str, run: RunResult | None, baseline: RunResult | None) -> float | None:
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
