"""The values that tuning tries, as a grid file gives them: a list, multiples of what a cell has, a range."""

from collections.abc import Sequence
from math import exp, log
from typing import Any

from ..yaml import Document
from .factors import Factor, describe
from .schema import GridConfig, RangeConfig, TimesConfig

DIGITS = 6
"""Of a value that is computed."""


def values_tried(tried: Any, extension: tuple[int, int] = (0, 0)) -> list[Any]:
    """The values, or multiples, of a setting, with those that were added beyond the edges."""
    match tried:
        case TimesConfig():
            values = list(tried.times)
        case RangeConfig():
            low, high = log(tried.low), log(tried.high)
            values = [rounded(exp(low + (high - low) * step / (tried.n - 1))) for step in range(tried.n)]
        case _:
            values = list(tried)
    below, above = extension
    for _ in range(below):
        values.insert(0, rounded(values[0] * values[0] / values[1]))
    for _ in range(above):
        values.append(rounded(values[-1] * values[-1] / values[-2]))
    return values


def can_extend(tried: Any) -> bool:
    """Whether there is a next value: of positive numbers in ascending or descending order."""
    values = values_tried(tried)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and min(numbers) > 0 and numbers in (sorted(numbers), sorted(numbers)[::-1])


def check_tune(document: Document, config: GridConfig, factors: Sequence[Factor]) -> None:
    """Errors: InputError for a setting that cannot be tuned."""
    if config.tune is None:
        return
    if config.claim is not None:
        raise document.error(("tune",), "a claim states its own `search`; remove one of the two")
    for path, tried in config.tune.settings.items():
        place = ("tune", "settings", path)
        if isinstance(tried, RangeConfig) and tried.low >= tried.high:
            raise document.error(place, "low must be below high")
        labels = [describe(value) for value in values_tried(tried)]
        if twice := next((label for index, label in enumerate(labels) if label in labels[:index]), None):
            raise document.error(place, f"the value {twice} appears twice")
        if config.tune.extend and not can_extend(tried):
            raise document.error(place, "`extend` needs positive numbers in order, to find the next one")
        for factor in factors:
            if path in factor.paths:
                raise document.error(place, f"is varied by the factor {factor.name}; remove one of the two")
        if path in config.set and not isinstance(tried, TimesConfig):
            raise document.error(place, "is also fixed in `set`; remove one of the two")


def rounded(value: float) -> float:
    """To so many digits that a computed value reads like a written one."""
    return float(f"{value:.{DIGITS}g}")
