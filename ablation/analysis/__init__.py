"""What the runs of a grid say: cells against the baseline, main effects; plain data in, plain data out."""

from .comparison import CellComparison, Comparison, Effect, MetricComparison, Outcome, compare, outcome
from .contrast import Contrast, paired

__all__ = [
    "CellComparison",
    "Comparison",
    "Contrast",
    "Effect",
    "MetricComparison",
    "Outcome",
    "compare",
    "outcome",
    "paired",
]
