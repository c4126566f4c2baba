"""Cell: one combination of levels against the baseline, measure by measure, from its runs and timings."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from ..stats.contrast import Contrast, paired, plural
from ..stats.sequential import ALPHA, seeds_at
from ..store.results import measured
from .comparable import incomparable
from .derived import time_to_target
from .families import alpha_spent
from .measures import TIME_TO_BASELINE, Measure, reason_missing
from .records import CellComparison, CellRecord, MetricComparison


def compare_cell(
    record: CellRecord,
    measures: Mapping[str, Measure],
    baseline: CellComparison | None,
    baseline_record: CellRecord,
    looks: Sequence[int],
) -> CellComparison:
    """Every measure of the cell; ``baseline`` is None for the baseline itself."""
    metrics = {}
    different = {} if baseline is None else incomparable(record, baseline_record, measures)
    for name, measure in measures.items():
        of_baseline = None if baseline is None else baseline.metrics[name]
        if measure.kind == "timed":
            metrics[name] = _timed(name, record, is_baseline=baseline is None)
        elif name in TIME_TO_BASELINE:
            metrics[name] = _time_to_baseline(name, record, baseline_record, of_baseline, looks, different.get(name))
        else:
            reason = different.get(name)
            if measure.lens == "quality" and baseline is not None:
                reason = reason or _nothing_learned(record, baseline_record)
            metrics[name] = _by_seed(name, record, of_baseline, baseline, looks, reason)
    cell = record.cell
    settings, levels = cell["settings"], cell["levels"]
    return CellComparison(cell["label"], settings, levels, record.seeds, record.results, metrics, different)


def _by_seed(
    name: str,
    record: CellRecord,
    of_baseline: MetricComparison | None,
    baseline: CellComparison | None,
    looks: Sequence[int],
    reason: str | None,
) -> MetricComparison:
    derived, count = record.derived.get(name), record.exact(name)
    if derived is None and name in record.derived:
        return _summary(name, (None,) * len(record.all_seeds), None)
    if derived is not None:
        values = tuple(derived)
    else:
        runs = [record.at(seed) for seed in record.all_seeds]
        values = tuple(None if run is None else run.value(name) if count is None else count for run in runs)
    contrast = None
    if baseline is not None and of_baseline is not None and reason is not None:
        contrast = Contrast(None, 0, reason_missing=reason)  # even the difference of the means would say nothing
    elif baseline is not None and of_baseline is not None:
        reason = reason_missing(record.results, name)
        if reason is None and (baseline_reason := reason_missing(baseline.results, name)):
            reason = f"baseline: {baseline_reason}"
        contrast = _contrast(record, values, of_baseline.values, reason, looks)
    return _summary(name, values, contrast)


def _time_to_baseline(
    name: str,
    record: CellRecord,
    baseline_record: CellRecord,
    of_baseline: MetricComparison | None,
    looks: Sequence[int],
    different: str | None,
) -> MetricComparison:
    """When each seed's loss was as good as the baseline's at the end; a ratio, so compared in logarithms."""
    values = tuple(time_to_target(name, record.at(seed), baseline_record.at(seed)) for seed in record.all_seeds)
    contrast = None
    if of_baseline is not None and different is not None:
        contrast = Contrast(None, 0, reason_missing=different)
    elif of_baseline is not None:
        planned = len(record.seeds)
        n_missing = planned - sum(value is not None for value in values)
        reason = f"the baseline's final loss was not reached in {n_missing} of {plural(planned, 'seed')}"
        logs = [[None if v is None else math.log(v) for v in row] for row in (values, of_baseline.values)]
        contrast = _contrast(record, logs[0], logs[1], reason if n_missing else None, looks)
    return _summary(name, values, contrast)


def _nothing_learned(record: CellRecord, baseline_record: CellRecord) -> str | None:
    """Why quality is not compared where runs learned nothing, since the losses of untrained models say nothing."""
    ends = [(record.at(seed), baseline_record.at(seed)) for seed in record.seeds]
    n_diverged = sum(run is not None and run.status == "diverged" for run, _ in ends)
    if ends and n_diverged == len(ends):
        return f"all {plural(n_diverged, 'run')} diverged"
    if ends and all(run is not None and run.status == "diverged" for _, run in ends):
        return f"all {plural(len(ends), 'run')} of the baseline diverged"
    both = sum(all(run is not None and run.status == "diverged" for run in pair) for pair in ends)
    return f"this cell and the baseline both diverged in {both} of {plural(len(ends), 'seed')}" if both else None


def _timed(name: str, record: CellRecord, is_baseline: bool) -> MetricComparison:
    timing = record.timing(name)
    ratios = [measured(ratio) for ratio in timing.get("log_ratios", ())]
    contrast = None if is_baseline else paired(ratios, [0.0] * len(ratios), None if ratios else "not timed")
    return MetricComparison(name, (), measured(timing.get("value")), None, contrast)


def _contrast(
    record: CellRecord,
    values: Sequence[float | None],
    references: Sequence[float | None],
    reason: str | None,
    looks: Sequence[int],
) -> Contrast:
    """The contrast over the seeds that were planned for the cell, with the confidence of its interim look."""
    planned = [index for index, seed in enumerate(record.all_seeds) if seed in record.ids]
    if looks:
        n_tested = seeds_at(len(planned), looks)  # a look that was not planned has no alpha
        if not n_tested and reason is None:
            reason = f"{plural(len(planned), 'seed')}: the first planned look is at {looks[0]}"
        planned = planned[:n_tested] or planned
    alpha = alpha_spent(len(planned), looks) or ALPHA
    return paired([values[index] for index in planned], [references[index] for index in planned], reason, 1 - alpha)


def _summary(name: str, values: tuple[float | None, ...], contrast: Contrast | None) -> MetricComparison:
    present = [value for value in values if value is not None]
    mean, sd = fmean(present) if present else None, stdev(present) if len(present) > 1 else None
    return MetricComparison(name, values, mean, sd, contrast)
