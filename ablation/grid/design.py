"""Design: how the levels of the factors are combined into cells."""

from collections.abc import Sequence
from itertools import product

from ..registry import register

Combination = tuple[int, ...]
"""One level of each factor, by its index; 0 is the baseline's."""


class Design:
    """Base of the designs."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        """The cells for factors with so many levels each: the baseline, all zeros, first; none twice."""
        raise NotImplementedError

    def count(self, n_levels: Sequence[int]) -> int:
        """How many there are, without listing them."""
        raise NotImplementedError


@register("design", "factorial", source="Fisher 1935, The Design of Experiments")
class Factorial(Design):
    """Every level with every other: main effects and all interactions can be told."""

    def combinations(self, n_levels: Sequence[int]) -> list[Combination]:
        return list(product(*(range(n) for n in n_levels)))

    def count(self, n_levels: Sequence[int]) -> int:
        total = 1
        for n in n_levels:
            total *= n
        return total
