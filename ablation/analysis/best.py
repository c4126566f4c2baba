"""Best: the cell with the best mean, and all that cannot be told from it."""

from .comparison import Comparison
from .contrast import paired
from .looks import ALPHA
from .verdict import Trial, judge


def best(comparison: Comparison) -> frozenset[str]:
    """Labels of the best cells by the grid's measure; none where all are, where too little is there, or nobody says.

    Every cell is tested against the one with the best mean, by paired t over seeds with Holm's correction. The best is
    chosen by the same numbers, so this errs on the side of calling too many different; it marks, it does not judge.
    """
    if comparison.better is None or any(cell.count("failed") or cell.count("missing") for cell in comparison.cells):
        return frozenset()
    means = {cell.label: cell.metrics[comparison.metric].mean for cell in comparison.cells}
    known = {label: mean for label, mean in means.items() if mean is not None}
    if len(known) < len(means):
        return frozenset()
    top = (min if comparison.better == "lower" else max)(known, key=known.__getitem__)
    values = {cell.label: cell.metrics[comparison.metric].values for cell in comparison.cells}
    others = [label for label in means if label != top]
    contrasts = [paired(values[label], values[top]) for label in others]
    if not contrasts or any(contrast.interval is None for contrast in contrasts):
        return frozenset()
    verdicts = judge([Trial(contrast.differences, None, ALPHA) for contrast in contrasts])
    alike = [o for o, v in zip(others, verdicts, strict=True) if v.label in ("inconclusive", "identical")]
    return frozenset() if len(alike) == len(others) else frozenset([top, *alike])
