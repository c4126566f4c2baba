"""Selection: the cells of a comparison that are shown, in the order wanted. Verdicts stay those of the whole table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..compare.records import CellComparison, Comparison
from ..errors import InputError, nearest
from .labels import plain

Key = float | str | None


def _difference(comparison: Comparison, cell: CellComparison) -> Key:
    contrast = cell.metrics[comparison.metric].contrast
    return None if contrast is None else contrast.delta


def _p(comparison: Comparison, cell: CellComparison) -> Key:
    verdict = cell.metrics[comparison.metric].verdict
    return None if verdict is None else verdict.p_holm


ORDERS: dict[str, Callable[[Comparison, CellComparison], Key]] = {
    "label": lambda comparison, cell: cell.label,
    "difference": _difference,
    "p": _p,
    "diverged": lambda comparison, cell: cell.count("diverged"),
}
"""Orders beside those by a measure's mean."""


def select(comparison: Comparison, wanted: Sequence[str] = (), order: str | None = None) -> Comparison:
    """The same with the cells whose labels or levels have all words of ``wanted``, sorted; the baseline stays first.

    ``order`` is one of ``ORDERS`` or the name of a measure; with a ``-`` before it, from the other end. What has no
    value comes last. Errors: InputError for an order that is not there, and when no cell is left.
    """
    cells = [cell for cell in comparison.cells[1:] if all(_has(cell, word) for word in wanted)]
    if wanted and not cells:
        raise InputError(f"--filter {' '.join(wanted)}: no cell has that; cells: "
                         f"{'; '.join(plain(cell.label) for cell in comparison.cells[1:])}")  # fmt: skip
    if order is not None:
        cells = _sorted(comparison, cells, order)
    return replace(comparison, cells=(comparison.baseline, *cells))


def _has(cell: CellComparison, word: str) -> bool:
    levels = {f"{path.rpartition('.')[2]}={level}" for path, level in cell.levels.items()}
    return word in cell.label or word in levels or word in {f"{path}={level}" for path, level in cell.levels.items()}


def _sorted(comparison: Comparison, cells: Sequence[CellComparison], order: str) -> list[CellComparison]:
    name = order.removeprefix("-")
    allowed = [*ORDERS, *comparison.names]
    if name not in allowed:
        raise InputError(f"--sort {order}: not known; allowed: {', '.join(allowed)}{nearest(name, allowed)}")
    known: list[tuple[Any, CellComparison]] = []
    without = []
    for cell in cells:
        value = ORDERS[name](comparison, cell) if name in ORDERS else cell.metrics[name].mean
        if value is None:
            without.append(cell)
        else:
            known.append((value, cell))
    known.sort(key=lambda pair: pair[0], reverse=order.startswith("-"))
    return [*(cell for _, cell in known), *without]
