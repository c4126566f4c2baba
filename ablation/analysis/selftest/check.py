"""One check of the statistics: what was measured, and the bound that it keeps or does not."""

from dataclasses import dataclass
from math import sqrt

GRIDS = 20_000
"""Synthetic grids per setting in the full form: a rate of 5 % is then known to .15 percentage points."""

_STANDARD_ERRORS = 3.25


@dataclass(frozen=True)
class Check:
    """``letter`` of the protocol, what was checked, the number, its bound in words, and whether it was kept."""

    letter: str
    what: str
    measured: str
    bound: str
    passed: bool


def slack(grids: int, rate: float = 0.05) -> float:
    """How much wider a bound is than in the full form, as fewer grids know less: 3.25 binomial standard errors."""
    deviation = sqrt(rate * (1 - rate))
    return _STANDARD_ERRORS * deviation * max(0.0, 1 / sqrt(grids) - 1 / sqrt(GRIDS))


def at_most(letter: str, what: str, rate: float, bound: float, where: str = "") -> Check:
    """A rate that has an upper bound."""
    return Check(
        letter, what, _percent(rate) + (f" ({where})" if where else ""), f"<= {_percent(bound)}", bool(rate <= bound)
    )


def at_least(letter: str, what: str, rate: float, bound: float, where: str = "") -> Check:
    """A rate that has a lower bound."""
    return Check(
        letter, what, _percent(rate) + (f" ({where})" if where else ""), f">= {_percent(bound)}", bool(rate >= bound)
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
