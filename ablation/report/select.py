"""Which rows of a table are shown, and in which order: cells by words in their labels, sorted by a measure."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..compare.records import CellComparison, Comparison
from ..errors import InputError, nearest
from . import labels

SortKey = float | str | None
AnyComparison = TypeVar("AnyComparison", bound=Comparison)


def _difference(comparison: Comparison, cell: CellComparison) -> SortKey:
    contrast = cell.metrics[comparison.metric].contrast
    return None if contrast is None else contrast.delta


def _p(comparison: Comparison, cell: CellComparison) -> SortKey:
    verdict = cell.metrics[comparison.metric].verdict
    return None if verdict is None else verdict.p_holm


ORDERS: dict[str, Callable[[Comparison, CellComparison], SortKey]] = {
    "label": lambda _, cell: cell.label,
    "difference": _difference,
    "p": _p,
    "diverged": lambda _, cell: cell.count("diverged"),
}
"""What rows can be sorted by, beside the mean of a measure."""


def select(comparison: AnyComparison, words: Sequence[str] = (), order: str | None = None) -> AnyComparison:
    """The comparison with the cells whose labels or levels have all ``words``, sorted; the baseline stays first.

    ``order`` is one of ``ORDERS`` or the name of a measure, reversed where a ``-`` precedes it; cells without a value
    come last. Verdicts stay those of all cells. Errors: InputError for an unknown order, and when no cell is left.
    """
    cells = [cell for cell in comparison.cells[1:] if all(_has(cell, word) for word in words)]
    if words and not cells:
        raise InputError(f"--filter {' '.join(words)}: no cell has that; cells: "
                         f"{'; '.join(labels.plain(cell.label) for cell in comparison.cells[1:])}")  # fmt: skip
    if order is not None:
        cells = _sorted(comparison, cells, order)
    left_out = comparison.left_out + len(comparison.cells) - 1 - len(cells)
    return replace(comparison, cells=(comparison.baseline, *cells), left_out=left_out)


def _has(cell: CellComparison, word: str) -> bool:
    levels = {f"{path.rpartition('.')[2]}={level}" for path, level in cell.levels.items()}
    return word in cell.label or word in levels or word in {f"{path}={level}" for path, level in cell.levels.items()}


def _sorted(comparison: Comparison, cells: Sequence[CellComparison], order: str) -> list[CellComparison]:
    name = order.removeprefix("-")
    allowed = [*ORDERS, *comparison.names]
    if name not in allowed:
        raise InputError(f"--sort {order}: not known; allowed: {', '.join(allowed)}{nearest(name, allowed)}")
    valued: list[tuple[Any, CellComparison]] = []
    without = []
    for cell in cells:
        value = ORDERS[name](comparison, cell) if name in ORDERS else cell.metrics[name].mean
        if value is None:
            without.append(cell)
        else:
            valued.append((value, cell))
    valued.sort(key=lambda pair: pair[0], reverse=order.startswith("-"))
    return [*(cell for _, cell in valued), *without]
