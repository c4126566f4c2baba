"""The verdict on a comparison: better, worse, equivalent, inconclusive, or diverged.

It rests on tests of the per-seed differences, corrected over all comparisons of the table (see ``family``). "No
significant difference" alone is never "equivalent", and without a margin nothing is. Where every run of a cell diverged
there is nothing to compare in quality, so that it is neither worse nor better but diverged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from .contrast import ROUNDING
from .power import replicates_in_words
from .shared_variance import Variance

Label = Literal["better", "worse", "equivalent", "inconclusive", "identical", "diverged"]
Side = Literal["better", "worse"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A label and what it rests on.

    ``exceeds_margin``: the difference is shown to exceed the margin. ``within_margin``: there is a difference, and
    it is smaller than the margin. ``trend``: the side to which an inconclusive comparison points before the correction.
    ``mean`` and ``interval`` (two-sided, at level 1 - ``alpha``, of this comparison alone) are in the unit of the
    metric, + is better. ``p`` is that of the paired t, ``p_equivalence`` that of the equivalence test, ``p_exceeds``
    that against the margin; with ``_holm`` the same after Holm over a family of size ``family``; None where nothing was
    tested. ``more_seeds``: so many replicates, from a to b, would settle it; ``replicate`` names one, a seed or a
    process. ``variance``: that of the differences where other cells had a part in it. ``reason_missing``: why there is
    no test, or no number of seeds.
    """

    label: Label
    exceeds_margin: bool = False
    within_margin: bool = False
    trend: Side | None = None
    mean: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_equivalence: float | None = None
    p_exceeds: float | None = None
    p_holm: float | None = None
    p_equivalence_holm: float | None = None
    p_exceeds_holm: float | None = None
    margin: float | None = None
    alpha: float = 0.0
    family: int = 0
    more_seeds: tuple[int, int] | None = None
    replicate: str = "seed"
    variance: Variance | None = None
    reason_missing: str | None = None

    @property
    def size_unsure(self) -> bool:
        """Whether there is a difference of which it is unsure whether it is large enough to matter."""
        different = self.label in ("better", "worse") and self.p is not None
        return different and self.margin is not None and not self.exceeds_margin

    @property
    def sentence(self) -> str:
        """The verdict in one plain sentence, without a full stop."""
        text = self._text()
        return text if self.reason_missing is None else f"{text}; {self.reason_missing}"

    def _text(self) -> str:
        margin = "" if self.margin is None else f" the margin of {self.margin:g}"
        match self.label:
            case "identical":
                return "identical in every seed"
            case "equivalent" if self.within_margin:
                return f"equivalent; there is a difference, and it lies within{margin}"
            case "equivalent":
                return f"equivalent, any difference lies within{margin}"
            case "diverged":
                return "every run diverged, so that there is no quality to compare"
            case "inconclusive":
                trend = "" if self.trend is None else f", leaning {self.trend}"
                if self.more_seeds is None:
                    return f"inconclusive{trend}"
                more = replicates_in_words(self.more_seeds, self.replicate)
                return f"inconclusive{trend}; about {more} would settle it at a margin of {self.margin:g}"
            case _ if self.p is None:
                size = f"{self.label} by exactly {abs(self.mean or 0.0):g}"
                return f"{size}, which lies within{margin}" if self.within_margin else size
            case _ if self.exceeds_margin:
                return f"{self.label}, by more than{margin}"
            case _ if self.size_unsure:
                return f"{self.label}, though not shown to exceed{margin}"
            case _:
                return self.label


DIVERGED = Verdict(label="diverged")


def signed_differences(
    values: Sequence[float], references: Sequence[float], better: Literal["lower", "higher"]
) -> tuple[float, ...]:
    """Per-seed differences of two complete sequences over the same seeds, + is better.

    The rounding of float64 is removed: a difference of that size becomes 0, and a spread of that size none.
    """
    sign = 1.0 if better == "higher" else -1.0
    differences = [sign * (value - reference) for value, reference in zip(values, references, strict=True)]
    rounding = max((ROUNDING * max(abs(v), abs(r)) for v, r in zip(values, references, strict=True)), default=0.0)
    if max(differences, default=0.0) - min(differences, default=0.0) <= rounding:
        differences = [fmean(differences)] * len(differences) if differences else []
    return tuple(0.0 if abs(difference) <= rounding else difference for difference in differences)


def exact(difference: float, margin: float | None = None) -> Verdict:
    """The verdict on a measure without noise, such as a count of parameters, from its one difference (+ is better)."""
    return Verdict(
        label="identical" if difference == 0 else side(difference),
        exceeds_margin=margin is not None and abs(difference) > margin,
        within_margin=margin is not None and 0 < abs(difference) < margin,
        mean=difference,
        interval=(difference, difference),
        margin=margin,
    )


def side(mean: float) -> Side:
    """Of a mean difference other than 0."""
    return "better" if mean > 0 else "worse"
