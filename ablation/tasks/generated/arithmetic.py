"""Arithmetic: sums of long numbers, and what a row of digits comes to.

Shapes: N examples, L tokens, D digits.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...registry import register
from ..base import BatchSize, Examples, Length
from .base import Count, Extrapolate, GeneratedTask, constant_column, mask_prompt

if TYPE_CHECKING:
    from torchmetrics import Metric

PLUS, EQUALS, BEGIN = 10, 11, 12


@register("task", "addition", source="Nogueira et al. 2021, arXiv:2102.13019; Lee et al. 2023, arXiv:2307.03381")
class Addition(GeneratedTask):
    """Two numbers of D digits and their sum of D + 1, ``length`` = 3 D + 3; the digits of the sum are asked for.

    Leading zeros are written. ``least_first`` writes the sum from its last digit, the order in which carries run.
    """

    purpose: ClassVar[str] = "addition"

    def __init__(
        self,
        *,
        least_first: bool = False,
        length: Annotated[Length, Field(multiple_of=3, ge=6)] = 18,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        self.least_first = least_first

    @property
    def vocabulary(self) -> int:
        return 13

    @property
    def names(self) -> list[str]:
        return [*map(str, range(10)), "+", "="]

    def encode(self, text: str) -> list[int]:
        return [BEGIN, *super().encode(" ".join(text))]

    def decode(self, ids: list[int]) -> str:
        return super().decode([id for id in ids if id != BEGIN]).replace(" ", "")

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        n_digits = length // 3 - 1
        first, second = torch.randint(10, (2, n_examples, n_digits), generator=random)
        total = add(first, second)
        parts = [
            constant_column(BEGIN, n_examples),
            first,
            constant_column(PLUS, n_examples),
            second,
            constant_column(EQUALS, n_examples),
            total.flip(1) if self.least_first else total,
        ]
        return mask_prompt(torch.cat(parts, 1), 2 * n_digits + 3)


def add(first: Tensor, second: Tensor) -> Tensor:
    """Digits (N, D) and (N, D), most significant first -> those of the sum (N, D + 1)."""
    digits, carry = [], torch.zeros(len(first), dtype=torch.long)
    for place in reversed(range(first.size(1))):
        total = first[:, place] + second[:, place] + carry
        digits.append(total % 10)
        carry = total // 10
    return torch.stack([carry, *reversed(digits)], 1)


class GeneratedClassification(GeneratedTask):
    """A text of at most ``length`` tokens, of which one class is asked for; the end is padded."""

    kind = "classification"
    primary = "accuracy"

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import class_metrics

        assert self.n_classes is not None
        return class_metrics(self.n_classes)


@register("task", "parity", source="Deletang et al. 2022, arXiv:2207.02098; Hahn 2019, arXiv:1906.07755")
class Parity(GeneratedClassification):
    """Whether the number of ones in a row of zeros and ones is odd.

    Rows are of 1 to ``length`` tokens, all lengths equally often; at 2x of more than ``length`` to twice that.
    """

    purpose: ClassVar[str] = "parity"

    def __init__(
        self,
        *,
        length: Length = 32,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)

    @property
    def vocabulary(self) -> int:
        return 3

    @property
    def n_classes(self) -> int:
        return 2

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        present = torch.arange(length) < self.lengths(n_examples, length, 1, random)[:, None]
        bits = torch.randint(2, (n_examples, length), generator=random)
        targets = (bits * present).sum(1) % 2
        return {"tokens": torch.where(present, bits, 2), "padding": present, "targets": targets}


@register("task", "modular_arithmetic", source="Deletang et al. 2022, arXiv:2207.02098")
class ModularArithmetic(GeneratedClassification):
    """The value, modulo ``modulus``, of digits joined by + - and *, products first.

    Rows are of 1, 3, 5, ... tokens up to ``length``; at 2x of more than ``length`` to twice that.
    """

    purpose: ClassVar[str] = "modular_arithmetic"

    def __init__(
        self,
        *,
        modulus: Annotated[int, Field(ge=2)] = 5,
        length: Length = 31,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        self.modulus = modulus

    @property
    def vocabulary(self) -> int:
        return self.modulus + 4

    @property
    def n_classes(self) -> int:
        return self.modulus

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        fewest = 0 if length == self.length else (length // 2 + 1) // 2
        n_operators = torch.randint(fewest, (length - 1) // 2 + 1, (n_examples,), generator=random)
        present = torch.arange(length) < 1 + 2 * n_operators[:, None]
        tokens = torch.randint(self.modulus, (n_examples, length), generator=random)
        operators = torch.randint(3, (n_examples, length // 2), generator=random)
        tokens[:, 1::2] = self.modulus + operators
        targets = self.evaluate(tokens, present)
        return {"tokens": torch.where(present, tokens, self.modulus + 3), "padding": present, "targets": targets}

    def evaluate(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Rows (N, L) -> their values (N,): a sum of products, the last of which is still open."""
        total, product = torch.zeros_like(tokens[:, 0]), tokens[:, 0]
        for place in range(2, tokens.size(1), 2):
            operator, digit = tokens[:, place - 1] - self.modulus, tokens[:, place]
            more, times = present[:, place], operator == 2
            total = torch.where(more & ~times, total + product, total)
            signed = torch.where(operator == 1, -digit, digit)
            product = torch.where(more, torch.where(times, product * digit % self.modulus, signed), product)
        return (total + product) % self.modulus
