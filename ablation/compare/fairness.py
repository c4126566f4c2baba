"""Fairness: whether cells are compared at equal size, cost and data, and with equally well tuned learning rates.

A cell that is larger or was trained on more tokens than the baseline may be better for that alone (Narang et al. 2021,
arXiv:2102.11972), and so may one that was tuned more (Melis et al. 2018, arXiv:1707.05589).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .measures import PARAMETERS
from .records import CellComparison, Comparison

TOLERANCE = 0.02
"""Relative to the baseline; a cell that differs by no more is matched."""
TOKENS = "training_tokens"
_MATCHED = (PARAMETERS, "flops_per_token")
_RECIPE = ("optimizer", "schedule", "training", "task.batch_size")
"""What is tuned; a factor at or below one of these paths varies the training recipe."""


@dataclass(frozen=True)
class Tuning:
    """The factors that vary the training recipe."""

    rates: int
    """Learning rates at which every cell was run; 1 where the learning rate is no factor."""
    equal: bool
    """Whether every combination of the other factors has the same learning rates."""
    others: tuple[str, ...]
    """Paths of the other factors of the recipe."""


def unmatched(comparison: Comparison) -> dict[str, dict[str, float]]:
    """By the label of a cell, the relative difference to the baseline in each quantity that should be equal and is not.

    The quantities are parameters, FLOPs per token, and the tokens seen by completed runs on average. Cells that
    are matched in all of them are left out.
    """
    references = _references(comparison)
    found: dict[str, dict[str, float]] = {}
    for cell in comparison.cells[1:]:
        for name, reference in references.items():
            amount = _amount(cell, name)
            if amount is not None and abs(amount / reference - 1) > TOLERANCE:
                found.setdefault(cell.label, {})[name] = amount / reference - 1
    return found


def matchable(comparison: Comparison) -> list[str]:
    """The quantities that should be equal and are known of the baseline."""
    return list(_references(comparison))


def _references(comparison: Comparison) -> dict[str, float]:
    return {name: amount for name in (*_MATCHED, TOKENS) if (amount := _amount(comparison.baseline, name))}


def tuning(comparison: Comparison) -> Tuning:
    """What of the recipe was varied, and whether equally for all cells."""
    varied = [factor for factor in comparison.factors if len(factor["levels"]) > 1]
    rate = next((factor for factor in varied if _is_rate(factor["path"])), None)
    others = tuple(f["path"] for f in varied if f is not rate and _varies_recipe(comparison, f))
    rates = [set(group.values()) for group in _by_rate(comparison, rate)] if rate is not None else []
    if not rates:
        return Tuning(1, True, others)
    return Tuning(min(map(len, rates)), all(group == rates[0] for group in rates), others)


def at_edge(comparison: Comparison) -> list[str]:
    """Labels of cells whose best learning rate is the smallest or the largest one, so that the range was too narrow.

    A rate at which a run diverged is never the best, nor is one of several equally good; before all runs have ended
    there are none.
    """
    rate = next((f for f in comparison.factors if len(f["levels"]) > 1 and _is_rate(f["path"])), None)
    if rate is None or comparison.better is None:
        return []
    best_of = min if comparison.better == "lower" else max
    by_label = {cell.label: cell for cell in comparison.cells}
    labels: list[str] = []
    for group in _by_rate(comparison, rate):
        cells = [by_label[label] for label in group]
        values = {label: value for label, level in group.items() if (value := _number(level)) is not None}
        if len(values) < max(2, len(group)) or not all(run.ended for cell in cells for run in cell.results):
            continue
        # A mean over the runs that did not diverge would favor cells with divergence.
        metrics = {cell.label: cell.metrics[comparison.metric] for cell in cells}
        means = {label: metric.mean for label, metric in metrics.items() if metric.mean is not None
                 and sum(value is not None for value in metric.values) == len(by_label[label].seeds)}  # fmt: skip
        best = [label for label, mean in means.items() if mean == best_of(means.values())]
        if len(best) == 1 and values[best[0]] in (min(values.values()), max(values.values())):
            labels += best
    return labels


def _by_rate(comparison: Comparison, rate: Mapping[str, Any]) -> Sequence[dict[str, str]]:
    """Groups of cells that differ in the learning rate alone: their learning rates by their labels."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in comparison.cells:
        others = tuple(level for path, level in cell.levels.items() if path != rate["path"])
        groups.setdefault(others, {})[cell.label] = cell.levels[rate["path"]]
    return list(groups.values())


def _amount(cell: CellComparison, name: str) -> float | None:
    if name == TOKENS:
        # A diverged run ended early, which is a result and no setting; one that was stopped early cost what it trained.
        tokens = [run.tokens for run in cell.results if run.status == "completed" and run.tokens]
        return fmean(tokens) if tokens else None
    metric = cell.metrics.get(name)
    return None if metric is None else metric.mean


def _is_rate(path: str) -> bool:
    return path == "lr" or path.endswith(".lr")


def _varies_recipe(comparison: Comparison, factor: Mapping[str, Any]) -> bool:
    """Whether what the factor's levels set is of the recipe, or contains settings of the recipe that differ."""
    return any(_is_of_recipe(comparison, path) for path in factor.get("paths") or [factor["path"]])


def _is_of_recipe(comparison: Comparison, path: str) -> bool:
    for root in _RECIPE:
        if path == root or path.startswith(f"{root}."):
            return True
        if root.startswith(f"{path}."):
            key = root.removeprefix(f"{path}.")
            levels = [cell.settings.get(path) for cell in comparison.cells]
            if len({level.get(key) if isinstance(level, Mapping) else None for level in levels}) > 1:
                return True
    return False


def _number(level: str) -> float | None:
    try:
        return float(level)
    except ValueError:
        return None
