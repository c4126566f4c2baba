"""Comparable: whether a measure of two cells was measured on the same, and what can be compared in its place."""

from collections.abc import Iterable, Mapping, Sequence

from ..errors import printable
from ..grid.comparable import OF_TEXT, differences, same_text
from ..store.results import base_metric, set_of
from .measures import SENSITIVITY, Measure
from .records import CellRecord


def incomparable(record: CellRecord, baseline: CellRecord, measures: Mapping[str, Measure]) -> dict[str, str]:
    """By measure, why the cell's and the baseline's cannot be compared; without an entry they can."""
    of_quality = [name for name, measure in measures.items() if measure.lens == "quality" or name == SENSITIVITY]
    reasons = {name: reason_incomparable(record, baseline, name) for name in of_quality}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def reason_incomparable(record: CellRecord, baseline: CellRecord, name: str) -> str | None:
    """In words what differs that the measure is about, None where nothing does."""
    sides = record.measured_on, baseline.measured_on
    if base_metric(name) in OF_TEXT and same_text(*sides):
        return None
    different = differences(*sides, further=set_of(name))
    return f"not measured on the same: {printable('; '.join(different.values()))}" if different else None


def comparable_in_all(records: Sequence[CellRecord], names: Iterable[str]) -> str | None:
    """The first measure of a text alone, at the end of training, that can be compared in all cells; None without."""
    for name in OF_TEXT:
        if name in names and not any(reason_incomparable(record, records[0], name) for record in records[1:]):
            return name
    return None
