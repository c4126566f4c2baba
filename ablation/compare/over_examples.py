"""The difference of a cell over seeds and validation examples, where runs have kept the losses of single examples."""

from ..stats.crossed import Crossed, crossed
from ..stats.sequential import ALPHA
from ..store.example_losses import ExampleLosses
from ..store.results import RunResult
from .families import alpha_spent
from .records import CellComparison, Comparison

METRIC = "loss"
"""The measure whose values by example are kept."""


def over_examples(comparison: Comparison, cell: CellComparison) -> Crossed | None:
    """The interval of the loss with seeds and examples as samples, with the seeds and confidence of its usual interval.

    None where the table is about another measure, where the cell has no interval or no noise, and where a run has not
    been completed, has kept no losses, or was evaluated on other examples.
    """
    if comparison.metric != METRIC:
        return None
    metric = cell.metrics[METRIC]
    if metric.contrast is None or metric.contrast.interval is None or metric.contrast.constant:
        return None
    baseline = dict(zip(comparison.baseline.seeds, comparison.baseline.results, strict=True))
    tested = list(zip(cell.seeds, cell.results, strict=True))[: metric.contrast.pairs]
    pairs = [(_losses(run), _losses(baseline[seed])) for seed, run in tested]
    differences, counts = [], None
    for of_cell, of_baseline in pairs:
        if of_cell is None or of_baseline is None:
            return None
        counts = of_cell.counts if counts is None else counts
        if any(each.counts.tobytes() != counts.tobytes() for each in (of_cell, of_baseline)):
            return None
        differences.append(of_cell.sums.astype(float) - of_baseline.sums)
    if counts is None:
        return None
    alpha = alpha_spent(len(cell.seeds), comparison.interim_looks) or ALPHA
    return crossed(differences, counts, 1 - alpha, metric.verdict.variance if metric.verdict else None)


def _losses(run: RunResult) -> ExampleLosses | None:
    """A diverged run counts with the loss of its first step, of which no examples are known."""
    return run.example_losses if run.status == "completed" else None
