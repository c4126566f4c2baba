"""Selection: the cells of a comparison that are shown, in the order wanted. Verdicts stay those of the whole table."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..analysis import CellComparison, Comparison
from ..errors import InputError, nearest
from .words import plain

ORDERS: dict[str, Callable[[Comparison, CellComparison], float | str | None]] = {
    "label": lambda comparison, cell: cell.label,
    "difference": lambda comparison, cell: (c := cell.metrics[comparison.metric].contrast) and c.delta,
    "p": lambda comparison, cell: (v := cell.metrics[comparison.metric].verdict) and v.p_holm,
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
    value = ORDERS.get(name, lambda comparison, cell: cell.metrics[name].mean)
    found = [(value(comparison, cell), cell) for cell in cells]
    known = sorted(
        (pair for pair in found if pair[0] is not None),
        key=lambda pair: pair[0],  # type: ignore[arg-type, return-value]  all texts or all numbers
        reverse=order.startswith("-"),
    )
    return [cell for _, cell in [*known, *(pair for pair in found if pair[0] is None)]]
