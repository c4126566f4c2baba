"""How numbers are written, in one place: with as many decimals as their uncertainty justifies.

A difference and its bounds are written to the second significant digit of the interval's half width, means to that of
their typical standard deviation. Signs are ASCII, so that a copied number is still a number.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

from ..compare.records import MetricComparison
from ..stats.contrast import Contrast
from .labels import plain

ABSENT = "—"
TIMES = "\N{MULTIPLICATION SIGN}"

_MOST_DECIMALS = 7
_LARGEST_WRITTEN_OUT = 1e9


def second_digit(uncertainty: float) -> int:
    """The number of decimals down to the second significant digit of ``uncertainty``; at least 0."""
    return max(0, 1 - _magnitude(uncertainty)) if uncertainty else 0


def four_digits(value: float) -> int:
    """The number of decimals that shows four significant digits of ``value``, for numbers of unknown uncertainty."""
    return max(0, 3 - _magnitude(value)) if value else 0


def _magnitude(value: float) -> int:
    # Of the rounded number: 0.0996 to two digits is 0.10, whose second digit is one decimal earlier.
    return int(f"{abs(value):.1e}".partition("e")[2])


def fixed(value: float, decimals: int, sign: str = "") -> str:
    """``value`` with that many decimals; in powers of ten where that would be too many digits."""
    if value and (decimals > _MOST_DECIMALS or abs(value) >= _LARGEST_WRITTEN_OUT):
        return f"{value:{sign}.2e}"
    return f"{value:{sign}.{min(decimals, _MOST_DECIMALS)}f}"


def means(metrics: Sequence[MetricComparison]) -> list[tuple[str, str]]:
    """The means of one metric with their standard deviations, ``("2.341", "± 0.012")``.

    All have the decimals of the median deviation. A deviation that is zero or, with a single run, unknown is empty.
    """
    deviations = [metric.sd for metric in metrics if metric.sd]
    present = [abs(metric.mean) for metric in metrics if metric.mean]
    if deviations:
        common = second_digit(median(deviations))
    else:
        whole = all(metric.mean is None or metric.mean.is_integer() for metric in metrics)
        common = 0 if whole or not present else four_digits(median(present))
    written = []
    for metric in metrics:
        decimals = max(common, second_digit(metric.sd) - 1) if metric.sd else common
        mean = ABSENT if metric.mean is None else fixed(metric.mean, decimals)
        written.append((mean, f"± {fixed(metric.sd, decimals)}" if metric.sd else ""))
    return written


def difference(contrast: Contrast, decimals: int) -> tuple[str, str]:
    """The difference and its interval, ``("+0.151", "[+0.120, +0.182]")``; an absent one is empty.

    ``decimals`` are those of a difference without an interval, whose uncertainty is unknown.
    """
    if contrast.delta is None:
        return ABSENT, ""
    if contrast.interval is None or contrast.constant:
        decimals = max(decimals, four_digits(contrast.delta) - 2)
        return ("0" if contrast.delta == 0 else fixed(contrast.delta, decimals, "+")), ""
    low, high = contrast.interval
    decimals = second_digit((high - low) / 2)
    # A bound just beside zero must not be rounded to zero.
    while contrast.excludes_zero and decimals < _MOST_DECIMALS and 0 in (round(low, decimals), round(high, decimals)):
        decimals += 1
    return fixed(contrast.delta, decimals, "+"), f"[{fixed(low, decimals, '+')}, {fixed(high, decimals, '+')}]"


def aligned(numbers: Sequence[str]) -> list[str]:
    """The same numbers padded so that their decimal points align."""
    parts = [number.partition(".") for number in numbers]
    before = max((len(whole) for whole, _, _ in parts), default=0)
    after = max((len(point + rest) for _, point, rest in parts), default=0)
    return [f"{whole:>{before}}{point + rest:<{after}}" for whole, point, rest in parts]


def short(count: float) -> str:
    """Three significant digits and a unit: ``804k``, ``1.24M``, ``41.2k``; below 1000 the number itself."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= 0.9995 * size:  # above this, three digits round up to the unit
            return f"{count / size:#.3g}".rstrip(".") + unit
    return f"{count:.3g}"


def short_time(value: float, unit: str) -> str:
    """``0.0123 s`` as ``12.3 ms``; anything else with three digits and its unit."""
    if unit == "s" and value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{short(value)} {plain(unit)}".strip()


@lru_cache(maxsize=1024)  # a thousand cells have few sizes, whose texts are one each
def grouped(count: float) -> str:
    """``804,224``."""
    return f"{count:,.0f}"


def ratio(value: float, reference: float) -> str:
    """The value over the reference after a multiplication sign; empty if the reference is zero."""
    return f"{TIMES}{fixed(value / reference, 2)}" if reference else ""


def percent_change(log_ratio: float) -> float:
    """The logarithm of a ratio as a change in percent: ``log(1.02)`` is 2."""
    return 100 * math.expm1(log_ratio)


def duration(seconds: float) -> str:
    """``45 s``, ``14 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_bytes(count: float) -> str:
    """``820 kB``, ``1.7 MB``, ``24 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
