"""Cells: each combination of levels against the baseline, measure by measure, from its runs and timings."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from ..stats.contrast import Contrast, Pairs, paired_all, plural
from ..stats.sequential import ALPHA, seeds_at
from ..store.results import measured
from .comparable import incomparable
from .derived import time_to_target
from .families import alpha_spent
from .measures import TIME_TO_BASELINE, Measure, reason_missing
from .on_demand import OnDemand
from .records import CellComparison, CellRecord, MetricComparison

Values = tuple[float | None, ...]
Asked = Pairs | Contrast | None
"""What a measure's contrast is made of; one that is known already; none, of the baseline."""


def compare_cells(
    records: Sequence[CellRecord], measures: Mapping[str, Measure], looks: Sequence[int]
) -> list[CellComparison]:
    """Every measure of every cell, the baseline first; a measure of all cells is compared when one is asked for it."""
    baseline = _Cell(records[0], None, measures, looks)
    cells = [baseline, *(_Cell(record, baseline, measures, looks) for record in records[1:])]
    of_all = OnDemand(measures, lambda name: [cell.measured(name) for cell in cells])
    contrasts = OnDemand(measures, lambda name: _contrasts([asked for _, asked in of_all[name]]))

    def metric(name: str, index: int) -> MetricComparison:
        values, _ = of_all[name][index]
        return MetricComparison(name, values, cells[index].mean(name, values), lambda: contrasts[name][index])

    return [
        CellComparison(
            cell.record.cell["label"],
            cell.record.cell["settings"],
            cell.record.cell["levels"],
            cell.record.seeds,
            cell.record.results,
            OnDemand(measures, partial(metric, index=index)),
            cell.incomparable,
            tuple(cell.record.cell.get("beside") or ()),
            cell.record.cell.get("match"),
        )
        for index, cell in enumerate(cells)
    ]


def _contrasts(asked: Sequence[Asked]) -> list[Contrast | None]:
    """Of one measure of every cell, all at once."""
    tested = iter(paired_all([each for each in asked if isinstance(each, Pairs)]))
    return [next(tested) if isinstance(each, Pairs) else each for each in asked]


class _Cell:
    """The values of a cell, measure by measure, and with what they are compared; ``baseline`` is None for itself."""

    def __init__(
        self,
        record: CellRecord,
        baseline: "_Cell | None",
        measures: Mapping[str, Measure],
        looks: Sequence[int],
    ):
        self.record, self.baseline, self.measures = record, baseline, measures
        self.incomparable = {} if baseline is None else incomparable(record, baseline.record, measures)
        self.runs = [record.at(seed) for seed in record.all_seeds]
        self.planned, self.look, self.confidence = _planned(record, looks)
        self.nothing_learned = None if baseline is None else _nothing_learned(record, baseline.record)
        self.values: dict[str, Values] = {}
        """By seed, of the measures that were asked for."""

    def measured(self, name: str) -> tuple[Values, Asked]:
        """The values of a measure, and what its contrast is made of; the baseline is asked first."""
        measure = self.measures[name]
        if measure.kind == "timed":
            return (), self._timed(name)
        if name in TIME_TO_BASELINE:
            self.values[name], asked = self._time_to_baseline(name)
        else:
            self.values[name], asked = self._by_seed(name, measure)
        return self.values[name], asked

    def mean(self, name: str, values: Values) -> float | None:
        if self.measures[name].kind == "timed":
            return measured(self.record.timing(name).get("value"))
        present = [value for value in values if value is not None]
        return fmean(present) if present else None

    def reason_missing(self, name: str) -> str | None:
        return reason_missing(self.record.results, name)

    def _by_seed(self, name: str, measure: Measure) -> tuple[Values, Asked]:
        record, baseline = self.record, self.baseline
        derived, count = record.derived.get(name), record.exact(name)
        if derived is None and name in record.derived:
            return (None,) * len(record.all_seeds), None
        if derived is not None:
            values = tuple(derived)
        else:
            values = tuple([None if run is None else run.value(name) if count is None else count for run in self.runs])
        if baseline is None:
            return values, None
        reason = self.incomparable.get(name)
        if measure.lens == "quality":
            reason = reason or self.nothing_learned
        if reason is not None:
            return values, Contrast(None, 0, reason_missing=reason)  # even the difference of means would say nothing
        reason = self.reason_missing(name)
        if reason is None and (baseline_reason := baseline.reason_missing(name)):
            reason = f"baseline: {baseline_reason}"
        return values, self._pairs(values, baseline.values[name], reason)

    def _time_to_baseline(self, name: str) -> tuple[Values, Asked]:
        """When each seed's loss was as good as the baseline's at the end; a ratio, so compared in logarithms."""
        record = self.record
        references = (self.baseline or self).runs
        values = tuple(
            [time_to_target(name, run, reference) for run, reference in zip(self.runs, references, strict=True)]
        )
        if self.baseline is None:
            return values, None
        if name in self.incomparable:
            return values, Contrast(None, 0, reason_missing=self.incomparable[name])
        planned = len(record.seeds)
        n_missing = planned - sum(value is not None for value in values)
        reason = f"the baseline's final loss was not reached in {n_missing} of {plural(planned, 'seed')}"
        logs = [[None if v is None else math.log(v) for v in row] for row in (values, self.baseline.values[name])]
        return values, self._pairs(logs[0], logs[1], reason if n_missing else None)

    def _timed(self, name: str) -> Asked:
        if self.baseline is None:
            return None
        ratios = [measured(ratio) for ratio in self.record.timing(name).get("log_ratios", ())]
        return Pairs(ratios, [0.0] * len(ratios), None if ratios else "not timed", replicate="process")

    def _pairs(self, values: Sequence[float | None], references: Sequence[float | None], reason: str | None) -> Pairs:
        """Over the seeds that were planned for the cell, with the confidence of its interim look."""
        return Pairs(
            [values[index] for index in self.planned],
            [references[index] for index in self.planned],
            reason or self.look,
            self.confidence,
        )


def _planned(record: CellRecord, looks: Sequence[int]) -> tuple[list[int], str | None, float]:
    """The indices of the seeds that are tested, why there is no interval yet, and the confidence of the look."""
    planned, reason = [index for index, seed in enumerate(record.all_seeds) if seed in record.ids], None
    if looks:
        n_tested = seeds_at(len(planned), looks)  # a look that was not planned has no alpha
        if not n_tested:
            reason = f"{plural(len(planned), 'seed')}: the first planned look is at {looks[0]}"
        planned = planned[:n_tested] or planned
    alpha = alpha_spent(len(planned), looks) or ALPHA
    return planned, reason, 1 - alpha


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
