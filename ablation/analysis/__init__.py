"""What the runs of a grid say: cells against the baseline, main effects, verdicts; plain data in, plain data out."""

from .cell import CellComparison, MetricComparison
from .comparison import Comparison, compare
from .contrast import Contrast, paired
from .effects import Effect
from .outcome import Outcome, outcome
from .verdict import Verdict

__all__ = [
    "CellComparison",
    "Comparison",
    "Contrast",
    "Effect",
    "MetricComparison",
    "Outcome",
    "Verdict",
    "compare",
    "outcome",
    "paired",
]
