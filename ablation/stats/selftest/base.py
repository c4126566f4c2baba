"""What all checks share: a check, its bound, and how much wider that is for fewer grids."""

from dataclasses import dataclass
from math import sqrt

from numpy import bool_, float64
from numpy.typing import NDArray

Array = NDArray[float64]
Mask = NDArray[bool_]

GRIDS = 20_000
"""Synthetic grids per setting in the full form: a rate of 5 % is then known to .15 percentage points."""
FALSE = 0.055
"""Most tables that may hold a false statement: 5 %, and what so many grids leave unknown of it."""

_STANDARD_ERRORS = 3.25


@dataclass(frozen=True)
class Check:
    """The ``letter`` of the protocol, what was checked, the number, its bound as text, and whether it was met."""

    letter: str
    what: str
    measured: str
    bound: str
    passed: bool


def form(shared: bool) -> str:
    """As checks name where the variances of tests come from."""
    return "shared variances" if shared else "own variances"


def slack(grids: int, rate: float = 0.05) -> float:
    """How much wider a bound is than in the full form: 3.25 binomial standard errors for the fewer grids."""
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


def no_more_than_five(letter: str, what: str, rates: dict[str, float], grids: int) -> Check:
    """Rates of false statements, by setting: the largest is at most 5 %."""
    worst = max(rates, key=rates.__getitem__)
    where = worst if len(rates) == 1 else f"worst of {len(rates)}: {worst}"
    return at_most(letter, what, rates[worst], FALSE + slack(grids), where)


def caught(letter: str, what: str, rates: dict[str, float], grids: int) -> Check:
    """Controls, by setting: rates of false statements of a rule that is wrong, each of which the bound must find."""
    least = min(rates, key=rates.__getitem__)
    shown = ", ".join(f"{setting}: {rate:.1%}" for setting, rate in rates.items())
    bound = FALSE + slack(grids)
    return Check(letter, f"control: {what}, must be caught", shown, f"> {_percent(bound)}", bool(rates[least] > bound))


def all_alike(letter: str, what: str, same: int, tables: int) -> Check:
    """On how many of ``tables`` two forms agree: on all."""
    return Check(letter, what, f"{same} of {tables}", f"{tables}", same == tables)


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
