"""Importance: how strongly a measure follows each factor over ranges of all of them."""

from statistics import fmean

from .records import Comparison

FEWEST = 5
"""Cells, below which an order says nothing."""


def importance(comparison: Comparison) -> dict[str, float]:
    """By the name of the factor, Spearman's rank correlation over cells with the table's measure; strongest first.

    Empty unless the design takes its cells from ranges. It shows directions, and is no test.
    """
    if comparison.design.get("name") != "latin_hypercube":
        return {}
    from scipy.stats import spearmanr

    means = [
        (cell, fmean(known))
        for cell in comparison.cells
        if (known := [value for value in cell.metrics[comparison.metric].values if value is not None])
    ]
    if len(means) < FEWEST:
        return {}
    found = {}
    for factor in comparison.factors:
        try:
            levels = [float(cell.levels[factor["path"]]) for cell, _ in means]
        except ValueError:  # no range, or a manifest that was changed by hand
            continue
        if len({*levels}) > 1 and len({mean for _, mean in means}) > 1:
            found[factor["name"]] = float(spearmanr(levels, [mean for _, mean in means]).statistic)
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))
