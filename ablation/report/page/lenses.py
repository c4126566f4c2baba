"""What the page says of a measure: its name with its unit, its differences as numbers, its verdict in a word."""

import math

from ...analysis import Comparison, MetricComparison
from ...analysis.measures import OTHER_WAYS, TOKENS_PER_SECOND, Lens, Measure
from .. import words
from ..words import metric_name

TITLES: dict[Lens, str] = {"quality": "Quality", "stability": "Stability", "efficiency": "Efficiency"}
TONES = {
    "better": "good",
    "looks better": "good",
    "worse": "bad",
    "looks worse": "bad",
    "equivalent": "same",
    "identical": "same",
    "the same": "same",
}
QUESTIONS: dict[Lens, str] = {
    "quality": "Does it learn better?",
    "stability": "Does it train more calmly?",
    "efficiency": "Does it cost less?",
}


def named(comparison: Comparison, lens: Lens, everything: bool = False) -> list[str]:
    """The measures of a lens that any cell has, the primary one first; by default without second looks at the same."""
    first = comparison.primary.get(lens)
    names = [name for name in comparison.names if comparison.measures[name].lens == lens and comparison.measured(name)]
    kept = [name for name in names if everything or name == first or not name.endswith(OTHER_WAYS)]
    return sorted(kept, key=lambda name: name != first)


def difference_title(measure: Measure) -> str:
    """What an axis of differences says."""
    against = "against the baseline, %" if measure.ratio else "minus the baseline's"
    towards = f" ({measure.better} is better)" if measure.better else ""
    return f"{metric_name(measure.name)} {against}{towards}"


def change(measure: Measure, difference: float) -> float:
    """A difference as it is shown: logarithms of ratios in per cent."""
    return 100 * math.expm1(difference) if measure.ratio else difference


def verdict(measure: Measure, metric: MetricComparison) -> str:
    """``▲ better``, ``? undecided``, ...; of what was not judged, where its own interval lies."""
    if metric.verdict is not None:
        return words.verdict(metric.verdict)
    contrast = metric.contrast
    if contrast is None or contrast.interval is None or metric.name == TOKENS_PER_SECOND:
        return ""
    if contrast.constant and contrast.delta == 0:
        return "the same"
    if not contrast.excludes_zero:
        return "undecided"
    less = contrast.interval[1] < 0
    if measure.kind == "exact" or measure.better is None:
        return "less" if less else "more"
    return "looks better" if less == (measure.better == "lower") else "looks worse"


def tone(measure: Measure, metric: MetricComparison) -> str:
    """The colour of the verdict: ``good``, ``bad``, ``same`` or ``open``."""
    said = metric.verdict.label if metric.verdict else verdict(measure, metric)
    if said in ("less", "more") and measure.better is not None:
        return "good" if (said == "less") == (measure.better == "lower") else "bad"
    return TONES.get(said, "open")
