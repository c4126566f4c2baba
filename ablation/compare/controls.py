"""Controls compared: whether what should be equal is, and what should be worse is found worse."""

from collections.abc import Mapping, Sequence

from ..stats.contrast import paired
from ..store.results import RunResult
from .records import Comparison, Control

A_A, AGAIN, KNOWN_BAD = "A/A", "same run again", "known bad"
"""The labels of the controls."""


def compare_controls(comparison: Comparison, controls: Mapping[str, Sequence[RunResult]]) -> tuple[Control, ...]:
    """The outcomes, in the order of the controls."""
    return tuple(_outcome(comparison, label, results) for label, results in controls.items())


def _outcome(comparison: Comparison, label: str, results: Sequence[RunResult]) -> Control:
    baseline = comparison.baseline.results
    if label == AGAIN:
        first = baseline[0] if baseline else None
        if first is None or not first.ended or not results[0].ended:
            return Control(label, None)
        measured = {**first.metrics, **results[0].metrics}
        differs = tuple(sorted(
            name for name in measured
            if first.metrics.get(name) != results[0].metrics.get(name) and comparison.measures.get(name) is not None
            and comparison.measures[name].lens != "efficiency"
        ))  # fmt: skip
        return Control(label, not differs, differs=differs)
    metric = comparison.metric
    values = [result.value(metric) for result in results]
    references = list(comparison.baseline.metrics[metric].values)[: len(values)]
    contrast = paired(values[: len(references)], references)
    if contrast.interval is None or contrast.delta is None:
        return Control(label, None, contrast)
    if label == A_A:
        return Control(label, not contrast.excludes_zero, contrast)
    worse = contrast.delta > 0 if comparison.better == "lower" else contrast.delta < 0
    return Control(label, worse and contrast.excludes_zero, contrast)
