"""Measures derived from several runs: the sensitivity to the learning rate, and the time to the baseline's loss."""

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean
from typing import Any

from ..store.results import RunResult
from .measures import TOKENS_TO_BASELINE
from .stability import learning_rate_sensitivity

MIN_RATES = 4


def learning_rate_factor(factors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The factor that is the learning rate, if it has enough levels for a sensitivity."""
    for factor in factors:
        if factor["path"] in ("optimizer.lr", "lr") and len(factor["levels"]) >= MIN_RATES:
            return factor
    return None


def sensitivities(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[tuple[str, Mapping[str, str], Sequence[RunResult | None]]],
) -> dict[str, tuple[float | None, ...]]:
    """The sensitivity to the learning rate by the label of the cell, seed by seed.

    Cells that differ in the learning rate alone have the same. ``cells`` are (label, levels, results seed by seed), the
    baseline first. Cells without a run at every rate have none, since sensitivities over other rates are not
    comparable; if the baseline or all other cells are among these, no cell has one. Seeds without a run at a rate have
    none. A run that diverged counts as having learned nothing.
    """
    rate_factor = learning_rate_factor(factors)
    if rate_factor is None:
        return {}
    groups: dict[tuple[str, ...], list[tuple[str, float, Sequence[RunResult | None]]]] = {}
    for label, levels, results in cells:
        key = tuple(level for path, level in levels.items() if path != rate_factor["path"])
        groups.setdefault(key, []).append((label, float(levels[rate_factor["path"]]), results))
    complete = [group for group in groups.values() if len(group) == len(rate_factor["levels"])]
    if len(complete) < min(2, len(groups)) or next(iter(groups.values())) not in complete:
        return {}
    by_label: dict[str, tuple[float | None, ...]] = {}
    for group in complete:
        by_seed = zip(*(results for _, _, results in group), strict=True)
        values = tuple(_sensitivity([rate for _, rate, _ in group], list(runs)) for runs in by_seed)
        by_label |= {label: values for label, _, _ in group}
    return by_label


def _sensitivity(rates: Sequence[float], runs: Sequence[RunResult | None]) -> float | None:
    losses = {}
    initial = [run.initial_loss for run in runs if run is not None and run.initial_loss is not None]
    if not initial or len(runs) < MIN_RATES:
        return None
    for rate, run in zip(rates, runs, strict=True):
        loss = None if run is None else run.value("loss")
        if loss is None and (run is None or run.status != "diverged"):
            return None
        losses[rate] = [inf if loss is None else loss]  # diverged at its first step: nothing was learned
    return learning_rate_sensitivity(losses, fmean(initial))[0]


def time_to_target(name: str, run: RunResult | None, baseline: RunResult | None) -> float | None:
    """The tokens or seconds at which ``run`` first reached the last validation loss of ``baseline``; None if never.

    Between two evaluations the loss is interpolated linearly.
    """
    if run is None or baseline is None or not run.evaluations or not baseline.evaluations:
        return None
    target = baseline.evaluations[-1].loss
    before = None
    for evaluation in run.evaluations:
        x = float(evaluation.tokens if name == TOKENS_TO_BASELINE else evaluation.seconds)
        if evaluation.loss <= target:
            if before is None:
                return x
            fraction = (before[1] - target) / (before[1] - evaluation.loss)
            return before[0] + fraction * (x - before[0])
        before = (x, evaluation.loss)
    return None
