"""Matching: whether cells are compared at equal size, cost and data, and with equally good learning rates.

A cell that is larger or has read more than the baseline may be better for that alone (Narang et al. 2021,
arXiv:2102.11972), and one whose learning rate was chosen with more care too (Melis et al. 2018, arXiv:1707.05589).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .measures import PARAMETERS
from .records import CellComparison, Comparison

TOLERANCE = 0.02
"""Relative to the baseline; a cell that differs by no more is matched."""
TOKENS = "training_tokens"
_MATCHED = (PARAMETERS, "flops_per_token")
_RECIPE = ("optimizer", "schedule", "training", "task.batch_size")
"""What tuning is about; a factor at or below one of these paths varies the recipe."""


@dataclass(frozen=True)
class Tuning:
    """Which of the factors are of the recipe, the learning rate apart."""

    rates: int
    """Learning rates that every cell was run at; 1 where the learning rate is no factor."""
    equal: bool
    """Whether every combination of the other factors has the same learning rates."""
    others: tuple[str, ...]
    """Paths of further factors of the recipe."""


def unmatched(comparison: Comparison, cell: CellComparison) -> dict[str, float]:
    """By what share a cell has more (or less) than the baseline, of each thing that should be equal and is not.

    Things are its parameters, FLOPs per token, and the tokens that a completed run has trained on.
    """
    found = {}
    for name in known(comparison):
        mine, reference = (_amount(each, name) for each in (cell, comparison.baseline))
        if mine is not None and reference and abs(mine / reference - 1) > TOLERANCE:
            found[name] = mine / reference - 1
    return found


def known(comparison: Comparison) -> list[str]:
    """What should be equal and can be looked at, since the baseline has it."""
    return [name for name in (*_MATCHED, TOKENS) if _amount(comparison.baseline, name)]


def tuning(comparison: Comparison) -> Tuning:
    """What of the recipe was varied, and whether for all alike."""
    varied = [factor for factor in comparison.factors if len(factor["levels"]) > 1]
    rate = next((factor for factor in varied if _is_rate(factor["path"])), None)
    others = tuple(f["path"] for f in varied if f is not rate and _varies_recipe(comparison, f["path"]))
    rates = [set(group.values()) for group in _by_rate(comparison, rate)] if rate is not None else []
    if not rates:
        return Tuning(1, True, others)
    return Tuning(min(map(len, rates)), all(found == rates[0] for found in rates), others)


def at_edge(comparison: Comparison) -> list[str]:
    """Labels of cells that alone are the best of their learning rates and have the smallest or largest: try further.

    Rates at which a run has no value, since it diverged, are not the best; before all runs have ended none is.
    """
    rate = next((f for f in comparison.factors if len(f["levels"]) > 1 and _is_rate(f["path"])), None)
    if rate is None or comparison.better is None:
        return []
    good = min if comparison.better == "lower" else max
    seeds = {cell.label: cell.seeds for cell in comparison.cells}
    found: list[str] = []
    for group in _by_rate(comparison, rate):
        cells = [cell for cell in comparison.cells if cell.label in group]
        values = {label: value for label, level in group.items() if (value := _number(level)) is not None}
        if len(values) < max(2, len(group)) or not all(run.ended for cell in cells for run in cell.results):
            continue
        # A mean over what did not diverge would favor what does.
        metrics = {cell.label: cell.metrics[comparison.metric] for cell in cells}
        means = {label: metric.mean for label, metric in metrics.items() if metric.mean is not None
                 and sum(value is not None for value in metric.values) == len(seeds[label])}  # fmt: skip
        best = [label for label, mean in means.items() if mean == good(means.values())]
        if len(best) == 1 and values[best[0]] in (min(values.values()), max(values.values())):
            found += best
    return found


def _by_rate(comparison: Comparison, rate: Mapping[str, Any]) -> Sequence[dict[str, str]]:
    """Cells that differ in the learning rate alone: their levels of it, by their labels."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in comparison.cells:
        others = tuple(level for path, level in cell.levels.items() if path != rate["path"])
        groups.setdefault(others, {})[cell.label] = cell.levels[rate["path"]]
    return list(groups.values())


def _amount(cell: CellComparison, name: str) -> float | None:
    if name == TOKENS:
        # What diverged stopped early, which is an outcome and no choice.
        return max((run.tokens for run in cell.results if run.status == "completed" and run.tokens), default=None)
    metric = cell.metrics.get(name)
    return None if metric is None else metric.mean


def _is_rate(path: str) -> bool:
    return path == "lr" or path.endswith(".lr")


def _varies_recipe(comparison: Comparison, path: str) -> bool:
    """Whether levels at that path vary the recipe; ones that hold more, as of all data, do where they name it."""
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
