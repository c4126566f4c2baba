"""Copying: a probe of whether a model can carry a text across a distance."""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field

from ..randomness import generator
from ..registry import register
from .task import IGNORED, BatchSize, Examples, Length, Task

if TYPE_CHECKING:
    from torchmetrics import Metric


@register("data", "copy", source="Graves et al. 2014, arXiv:1410.5401; Jelassi et al. 2024, arXiv:2402.01032")
class Copy(Task):
    """Random symbols, a separator, the same symbols again; only the second half is asked for.

    ``length`` tokens go in, so half as many symbols are copied. Every epoch is new; the validation set is fixed.
    """

    primary = "exact_match"
    better = "higher"

    def __init__(
        self,
        *,
        symbols: Annotated[int, Field(ge=2)] = 16,
        length: Annotated[Length, Field(multiple_of=2)] = 32,
        batch_size: BatchSize = 32,
        epoch_examples: Annotated[int, Field(ge=1)] = 16_384,
        validation_examples: Annotated[int, Field(ge=1)] = 512,
    ):
        super().__init__(length, batch_size)
        self.symbols, self.epoch_examples, self.validation_examples = symbols, epoch_examples, validation_examples

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    def training(self, seed: int, epoch: int) -> Examples:
        return self.draw(self.epoch_examples, generator(seed, "copy", epoch))

    def validation(self) -> Examples:
        return self.draw(self.validation_examples, generator(0, "copy", "validation"))

    def draw(self, n_examples: int, random: torch.Generator) -> Examples:
        symbols = torch.randint(self.symbols, (n_examples, self.length // 2), generator=random)
        separator = torch.full((n_examples, 1), self.symbols)
        text = torch.cat([symbols, separator, symbols], 1)
        targets = text[:, 1:].clone()
        targets[:, : self.length // 2] = IGNORED
        return {"tokens": text[:, :-1], "targets": targets}

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import CrossEntropy, ExactMatch, TokenAccuracy

        return {"loss": CrossEntropy(), "accuracy": TokenAccuracy(self.vocabulary), "exact_match": ExactMatch()}
