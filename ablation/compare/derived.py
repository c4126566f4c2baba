"""Measures derived from several runs: the sensitivity to the learning rate, the best one, the time to a loss."""

from collections.abc import Mapping, Sequence
from math import exp, inf, log
from statistics import fmean
from typing import Any

from ..store.results import RunResult
from .measures import BEST_RATE, SENSITIVITY, TOKENS_TO_BASELINE
from .stability import learning_rate_sensitivity

MIN_RATES = 4


def learning_rate_factor(factors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The factor that is the learning rate, if it has enough levels for a sensitivity."""
    for factor in factors:
        if factor["path"] in ("optimizer.lr", "lr") and len(factor["levels"]) >= MIN_RATES:
            return factor if all(map(_is_number, factor["levels"])) else None
    return None


def _is_number(level: str) -> bool:
    try:
        return float(level) > 0
    except ValueError:
        return False


def sweeps(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[tuple[str, Mapping[str, str], Sequence[RunResult | None]]],
) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """By measure, the sensitivity to the learning rate and the best rate by the label of the cell, seed by seed.

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
    of_cells: dict[str, dict[str, tuple[float | None, ...]]] = {SENSITIVITY: {}, BEST_RATE: {}}
    for group in complete:
        rates = [rate for _, rate, _ in group]
        swept = [_losses(rates, runs) for runs in zip(*(results for _, _, results in group), strict=True)]
        sensitivities = tuple(None if each is None else learning_rate_sensitivity(*each)[0] for each in swept)
        best_rates = tuple(None if each is None else best_rate(*each) for each in swept)
        for label, _, _ in group:
            of_cells[SENSITIVITY][label], of_cells[BEST_RATE][label] = sensitivities, best_rates
    return of_cells


def best_rate(losses_by_rate: Mapping[float, Sequence[float]], initial: float) -> float:
    """The learning rate at which a parabola through the lowest loss and its neighbors is lowest, in the logarithm.

    At the edge of the sweep it is the rate there. The first loss of each rate counts, at most as ``initial``.
    """
    rates = sorted(losses_by_rate)
    losses = [min(losses_by_rate[rate][0], initial) for rate in rates]
    place = losses.index(min(losses))
    if place in (0, len(rates) - 1):
        return rates[place]
    (x, y, z), (a, b, c) = (log(rate) for rate in rates[place - 1 : place + 2]), losses[place - 1 : place + 2]
    left, right = (y - x) * (c - b), (z - y) * (a - b)
    return exp(y + ((z - y) * right - (y - x) * left) / (2 * (left + right))) if left + right else rates[place]


def _losses(rates: Sequence[float], runs: Sequence[RunResult | None]) -> tuple[dict[float, list[float]], float] | None:
    """One seed's losses by rate, and the initial one; None where one of them is missing."""
    losses = {}
    initial = [run.initial_loss for run in runs if run is not None and run.initial_loss is not None]
    if not initial or len(runs) < MIN_RATES:
        return None
    for rate, run in zip(rates, runs, strict=True):
        loss = None if run is None else run.value("loss")
        if loss is None and (run is None or run.status != "diverged"):
            return None
        losses[rate] = [inf if loss is None else loss]  # diverged at its first step: nothing was learned
    return losses, fmean(initial)


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
