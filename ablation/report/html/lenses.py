"""What the page says of a measure: its name with its unit, its differences as numbers, its verdict in a word."""

import math

from ...compare.measures import Lens, Measure
from ...compare.records import Comparison, MetricComparison
from ...store.results import VARIANTS
from .. import labels
from ..labels import metric_name

TITLES: dict[Lens, str] = {"quality": "Quality", "stability": "Stability", "efficiency": "Efficiency"}
TONES = {
    "better": "good",
    "worse": "bad",
    "equivalent": "same",
    "identical": "same",
    "the same": "same",
}


def named(comparison: Comparison, lens: Lens, everything: bool = False) -> list[str]:
    """The measures of a lens that any cell has, the primary one first; by default without second looks at the same."""
    first = comparison.primary.get(lens)
    names = [name for name in comparison.names if comparison.measures[name].lens == lens and comparison.measured(name)]
    kept = [name for name in names if everything or name == first or not name.endswith(VARIANTS)]
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
    """``▲ better``, ``? undecided``, ...; of a count, which needs no judge, how it compares; else empty."""
    if metric.verdict is not None:
        return labels.verdict(metric.verdict)
    delta = None if metric.contrast is None else metric.contrast.delta
    if measure.kind != "exact" or delta is None:
        return ""
    return "the same" if delta == 0 else "less" if delta < 0 else "more"


def tone(measure: Measure, metric: MetricComparison) -> str:
    """The color of the verdict: ``good``, ``bad``, ``same`` or ``open``."""
    if metric.verdict is not None:
        return TONES.get(metric.verdict.label, "open")
    said = verdict(measure, metric)
    if said in ("less", "more") and measure.better is not None:
        return "good" if (said == "less") == (measure.better == "lower") else "bad"
    return TONES.get(said, "open")
