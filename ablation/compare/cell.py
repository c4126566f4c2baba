"""Cell: one combination of levels against the baseline, measure by measure, as its runs and timings tell."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from ..stats.contrast import Contrast, paired, plural
from ..stats.sequential import ALPHA, seeds_at
from ..store.results import measured
from .derived import time_to_target
from .families import alpha_spent
from .measures import TIME_TO_BASELINE, Measure, reason_missing
from .records import CellComparison, CellRecord, MetricComparison


def compare_cell(
    draft: CellRecord,
    known: Mapping[str, Measure],
    baseline: CellComparison | None,
    reference: CellRecord,
    looks: Sequence[int],
) -> CellComparison:
    """Every measure of the cell; ``baseline`` is None for the baseline itself, whose draft is ``reference``."""
    metrics = {}
    for name, measure in known.items():
        of_baseline = None if baseline is None else baseline.metrics[name]
        if measure.kind == "timed":
            metrics[name] = _timed(name, draft, is_baseline=baseline is None)
        elif name in TIME_TO_BASELINE:
            metrics[name] = _reaching(name, draft, reference, of_baseline, looks)
        else:
            metrics[name] = _by_seed(name, draft, of_baseline, baseline, looks)
    cell = draft.cell
    return CellComparison(cell["label"], cell["settings"], cell["levels"], draft.seeds, draft.results, metrics)


def _by_seed(
    name: str,
    draft: CellRecord,
    reference: MetricComparison | None,
    baseline: CellComparison | None,
    looks: Sequence[int],
) -> MetricComparison:
    derived = draft.derived.get(name)
    if derived is None and name in draft.derived:
        return _summary(name, (None,) * len(draft.all_seeds), None)
    counted = draft.exact(name)
    values = (
        tuple(derived)
        if derived is not None
        else tuple(
            None if (run := draft.at(seed)) is None else run.value(name) if counted is None else counted
            for seed in draft.all_seeds
        )
    )
    contrast = None
    if baseline is not None and reference is not None:
        lacking = reason_missing(draft.results, name)
        if lacking is None and (why := reason_missing(baseline.results, name)):
            lacking = f"baseline: {why}"
        contrast = _contrast(draft, values, reference.values, lacking, looks)
    return _summary(name, values, contrast)


def _reaching(
    name: str, draft: CellRecord, reference: CellRecord, of_baseline: MetricComparison | None, looks: Sequence[int]
) -> MetricComparison:
    """How far each seed had come when its loss was as good as the baseline's in the end; a ratio, so in logarithms."""
    values = tuple(time_to_target(name, draft.at(seed), reference.at(seed)) for seed in draft.all_seeds)
    contrast = None
    if of_baseline is not None:
        planned = len(draft.seeds)
        lacking = planned - sum(value is not None for value in values)
        obstacle = f"the baseline's final loss was not reached in {lacking} of {plural(planned, 'seed')}"
        logs = [[None if v is None else math.log(v) for v in row] for row in (values, of_baseline.values)]
        contrast = _contrast(draft, logs[0], logs[1], obstacle if lacking else None, looks)
    return _summary(name, values, contrast)


def _timed(name: str, draft: CellRecord, is_baseline: bool) -> MetricComparison:
    timing = draft.timing(name)
    ratios = [measured(ratio) for ratio in timing.get("log_ratios", ())]
    contrast = None if is_baseline else paired(ratios, [0.0] * len(ratios), None if ratios else "not timed")
    return MetricComparison(name, (), measured(timing.get("value")), None, contrast)


def _contrast(
    draft: CellRecord,
    values: Sequence[float | None],
    references: Sequence[float | None],
    obstacle: str | None,
    looks: Sequence[int],
) -> Contrast:
    """Over the seeds that were planned for the cell, with what its look may spend of the confidence."""
    places = [place for place, seed in enumerate(draft.all_seeds) if seed in draft.ids]
    if looks:
        n_judged = seeds_at(len(places), looks)  # a look that was not planned would spend what no look has
        if not n_judged and obstacle is None:
            obstacle = f"{plural(len(places), 'seed')}: the first planned look is at {looks[0]}"
        places = places[:n_judged] or places
    alpha = alpha_spent(len(places), looks) or ALPHA
    return paired([values[place] for place in places], [references[place] for place in places], obstacle, 1 - alpha)


def _summary(name: str, values: tuple[float | None, ...], contrast: Contrast | None) -> MetricComparison:
    present = [value for value in values if value is not None]
    mean, sd = fmean(present) if present else None, stdev(present) if len(present) > 1 else None
    return MetricComparison(name, values, mean, sd, contrast)
