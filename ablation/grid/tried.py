"""The values that tuning tries, as a grid file gives them: a list, multiples of what a cell has, a range."""

from math import exp, log
from typing import Annotated, Any

from pydantic import Field

from ..registry import Config

DIGITS, SHORT = 6, 3
"""Of a value that is computed, and of one that is anywhere in a range."""


class RangeConfig(Config):
    """A range from which `n` values are taken, evenly spaced in the logarithm, or a search takes values."""

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    n: Annotated[int, Field(ge=2)] | None = None
    """Needed where all combinations are tried; null: a search may take any value in the range."""


class TimesConfig(Config):
    """Multiples of what a cell has: an optimizer's own learning rate halved and doubled."""

    times: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)] | RangeConfig


Tried = Annotated[list[Any], Field(min_length=2)] | TimesConfig | RangeConfig


def range_of(tried: Tried) -> RangeConfig | None:
    """The range, where that is what is tried."""
    found = tried.times if isinstance(tried, TimesConfig) else tried
    return found if isinstance(found, RangeConfig) else None


def values_tried(tried: Tried, extension: tuple[int, int] = (0, 0)) -> list[Any]:
    """The values, or multiples, of a setting, with those that were added beyond the edges.

    Those of a range without ``n`` are its two ends.
    """
    values: list[Any]
    match tried.times if isinstance(tried, TimesConfig) else tried:
        case RangeConfig() as within:
            n = within.n or 2
            values = [_between(within, step / (n - 1), DIGITS) for step in range(n)]
        case listed:
            values = list(listed)
    below, above = extension
    for _ in range(below):
        values.insert(0, rounded(values[0] * values[0] / values[1]))
    for _ in range(above):
        values.append(rounded(values[-1] * values[-1] / values[-2]))
    return values


def at(tried: Tried, place: float) -> Any:
    """The value, or multiple, at a place from 0 to 1: of a range without ``n`` any one, evenly in the logarithm."""
    within = range_of(tried)
    if within is not None and within.n is None:
        return _between(within, place, SHORT)
    values = values_tried(tried)
    return values[min(int(place * len(values)), len(values) - 1)]


def in_words(tried: Tried, extension: tuple[int, int] = (0, 0)) -> list[str]:
    """The values as they are named: multiples as ``3x``, a range by its ends."""
    within, suffix = range_of(tried), "x" if isinstance(tried, TimesConfig) else ""
    if within is not None and within.n is None:
        return [f"{within.low:g}{suffix} to {within.high:g}{suffix}"]
    return [f"{value}{suffix}" for value in values_tried(tried, extension)]


def can_extend(tried: Tried) -> bool:
    """Whether there is a next value: of positive numbers in ascending or descending order."""
    values = values_tried(tried)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and min(numbers) > 0 and numbers in (sorted(numbers), sorted(numbers)[::-1])


def rounded(value: float, digits: int = DIGITS) -> float:
    """To so many digits that a computed value reads like a written one."""
    return float(f"{value:.{digits}g}")


def _between(within: RangeConfig, place: float, digits: int) -> float:
    low, high = log(within.low), log(within.high)
    return rounded(exp(low + (high - low) * place), digits)
