"""Comparable: whether a measure of two cells was measured on the same, so that its difference means something."""

from collections.abc import Iterable, Mapping

from .records import CellRecord


def incomparable(record: CellRecord, baseline: CellRecord, names: Iterable[str]) -> Mapping[str, str]:
    """By measure, why the cell's and the baseline's cannot be compared; without an entry they can."""
    return {}
