"""Arithmetic: sums of long numbers, parity of bits, modular addition and modular expressions.

Shapes: N examples, L tokens, D digits.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...registry import register
from ...rng import generator
from ..base import BatchSize, Examples, Fraction, Length, Task
from .base import GeneratedClassification, GeneratedTask, constant_column, mask_prompt

if TYPE_CHECKING:
    from torchmetrics import Metric

PLUS, EQUALS, BEGIN = 10, 11, 12


@register("task", "addition", source="Nogueira et al. 2021, arXiv:2102.13019; Lee et al. 2023, arXiv:2307.03381")
class Addition(GeneratedTask):
    """Two numbers of D digits and their sum of D + 1 digits, which is to be predicted; ``length`` is 3 D + 3.

    Leading zeros are included. With ``least_first`` the sum starts with its least significant digit, as carries do.
    """

    purpose: ClassVar[str] = "addition"

    def __init__(
        self,
        *,
        least_first: bool = False,
        length: Annotated[Length, Field(multiple_of=3, ge=6)] = 18,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.least_first = least_first

    @property
    def vocabulary(self) -> int:
        return 13

    @property
    def token_names(self) -> list[str]:
        return [*map(str, range(10)), "+", "="]

    def encode(self, text: str) -> list[int]:
        return [BEGIN, *super().encode(" ".join(text))]

    def decode(self, ids: list[int]) -> str:
        return super().decode([id for id in ids if id != BEGIN]).replace(" ", "")

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
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
    """Digits (N, D) and (N, D), most significant first -> digits of the sum (N, D + 1)."""
    digits, carry = [], torch.zeros(len(first), dtype=torch.long)
    for position in reversed(range(first.size(1))):
        total = first[:, position] + second[:, position] + carry
        digits.append(total % 10)
        carry = total // 10
    return torch.stack([carry, *reversed(digits)], 1)


@register("task", "parity", source="Deletang et al. 2022, arXiv:2207.02098; Hahn 2019, arXiv:1906.07755")
class Parity(GeneratedClassification):
    """Whether the number of ones in a sequence of bits is odd.

    Sequences have 1 to ``length`` tokens, all lengths equally often; at 2x more than ``length`` and up to twice that.
    """

    purpose: ClassVar[str] = "parity"

    def __init__(
        self,
        *,
        length: Length = 32,
        **options: Any,
    ):
        super().__init__(length=length, **options)

    @property
    def vocabulary(self) -> int:
        return 3

    @property
    def n_classes(self) -> int:
        return 2

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        present = torch.arange(length) < self.sample_lengths(n_examples, length, 1, random)[:, None]
        bits = torch.randint(2, (n_examples, length), generator=random)
        targets = (bits * present).sum(1) % 2
        return {"tokens": torch.where(present, bits, 2), "padding": present, "targets": targets}


@register("task", "modular_addition", source="Power et al. 2022, arXiv:2201.02177")
class ModularAddition(Task):
    """a + b modulo ``modulus`` from the tokens a, b, =: a fraction of all pairs trains, the others validate.

    Every epoch has the same pairs, chosen at random but the same for all seeds. The measures that end in `@seen` are of
    the pairs that train.
    """

    kind = "classification"
    primary = "accuracy"
    better = "higher"

    def __init__(
        self,
        *,
        modulus: Annotated[int, Field(ge=3)] = 97,
        training_fraction: Fraction = 0.5,
        length: Annotated[Length, Field(ge=3, le=3)] = 3,
        batch_size: BatchSize = 512,
    ):
        super().__init__(length, batch_size)
        self.modulus, self.training_fraction = modulus, training_fraction

    @property
    def vocabulary(self) -> int:
        return self.modulus + 1

    @property
    def n_classes(self) -> int:
        return self.modulus

    def pairs(self, trained: bool) -> Examples:
        """The pairs that train, or all others."""
        n_pairs = self.modulus**2
        order = torch.randperm(n_pairs, generator=generator(0, "modular_addition", "split"))
        n_training = min(max(1, round(self.training_fraction * n_pairs)), n_pairs - 1)
        chosen = order[:n_training] if trained else order[n_training:]
        first, second = chosen // self.modulus, chosen % self.modulus
        tokens = torch.stack([first, second, torch.full_like(first, self.modulus)], 1)
        return {
            "tokens": tokens,
            "padding": torch.ones_like(tokens, dtype=torch.bool),
            "targets": (first + second) % self.modulus,
        }

    def training(self, seed: int, epoch: int) -> Examples:
        return self.pairs(trained=True)

    def validation(self) -> Examples:
        return self.pairs(trained=False)

    def further_validation(self) -> dict[str, Examples]:
        return {"seen": self.pairs(trained=True)}

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import class_metrics

        return class_metrics(self.n_classes)


@register("task", "modular_arithmetic", source="Deletang et al. 2022, arXiv:2207.02098")
class ModularArithmetic(GeneratedClassification):
    """The value modulo ``modulus`` of digits joined by +, - and *, with products first.

    Expressions have 1, 3, 5, ... tokens up to ``length``; at 2x more than ``length`` and up to twice that.
    """

    purpose: ClassVar[str] = "modular_arithmetic"

    def __init__(
        self,
        *,
        modulus: Annotated[int, Field(ge=2)] = 5,
        length: Length = 31,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.modulus = modulus

    @property
    def vocabulary(self) -> int:
        return self.modulus + 4

    @property
    def n_classes(self) -> int:
        return self.modulus

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        lowest = 0 if length == self.length else (length // 2 + 1) // 2
        n_operators = torch.randint(lowest, (length - 1) // 2 + 1, (n_examples,), generator=random)
        present = torch.arange(length) < 1 + 2 * n_operators[:, None]
        tokens = torch.randint(self.modulus, (n_examples, length), generator=random)
        operators = torch.randint(3, (n_examples, length // 2), generator=random)
        tokens[:, 1::2] = self.modulus + operators
        targets = self.evaluate(tokens, present)
        return {"tokens": torch.where(present, tokens, self.modulus + 3), "padding": present, "targets": targets}

    def evaluate(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Expressions (N, L) -> their values (N,), as a sum of completed products and the current product."""
        total, product = torch.zeros_like(tokens[:, 0]), tokens[:, 0]
        for position in range(2, tokens.size(1), 2):
            operator, digit = tokens[:, position - 1] - self.modulus, tokens[:, position]
            inside, times = present[:, position], operator == 2
            total = torch.where(inside & ~times, total + product, total)
            signed = torch.where(operator == 1, -digit, digit)
            product = torch.where(inside, torch.where(times, product * digit % self.modulus, signed), product)
        return (total + product) % self.modulus
