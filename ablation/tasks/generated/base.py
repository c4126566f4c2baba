"""Generated: the base of the tasks whose examples are drawn as they are needed, at any length.

Shapes: N examples, L tokens.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...errors import InputError
from ...rng import generator
from ..base import IGNORED, Examples, Task

if TYPE_CHECKING:
    from torchmetrics import Metric

Count = Annotated[int, Field(ge=1)]
Symbols = Annotated[int, Field(ge=2)]
Extrapolate = Literal[1, 2, 4, 8]
"""How many times the training length is validated on as well, after the doublings before it: 4 adds 2x and 4x."""


class GeneratedTask(Task):
    """Every epoch is drawn anew, the validation sets once and for all."""

    primary = "exact_match"
    better = "higher"
    purpose: ClassVar[str]
    """What its random numbers are drawn for: no two tasks draw the same."""

    def __init__(
        self, length: int, batch_size: int, epoch_examples: int, validation_examples: int, extrapolate: int = 1
    ):
        super().__init__(length, batch_size)
        self.epoch_examples, self.validation_examples = epoch_examples, validation_examples
        self.multiples = [multiple for multiple in (2, 4, 8) if multiple <= extrapolate]

    @property
    def longest(self) -> int:
        return self.length * max(self.multiples, default=1)

    def training(self, seed: int, epoch: int) -> Examples:
        return self.draw(self.epoch_examples, self.length, generator(seed, self.purpose, epoch))

    def validation(self) -> Examples:
        return self.draw(self.validation_examples, self.length, generator(0, self.purpose, "validation"))

    def further_validation(self) -> dict[str, Examples]:
        return {
            f"{multiple}x": self.draw(
                self.validation_examples, multiple * self.length, generator(0, self.purpose, f"{multiple}x")
            )
            for multiple in self.multiples
        }

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        """That many examples of ``length`` tokens."""
        raise NotImplementedError

    def lengths(self, n_examples: int, length: int, shortest: int, random: torch.Generator) -> Tensor:
        """How long each text of a set is (N,), for tasks whose texts differ.

        Uniform up to ``length``: in training from ``shortest``, in a set at 2x or 4x from above the set before it.
        """
        least = shortest if length == self.length else length // 2 + 1
        return torch.randint(least, length + 1, (n_examples,), generator=random)

    @property
    def names(self) -> list[str]:
        """What its tokens are called, by id, for tasks in which a text is gone on with; else nothing."""
        return []

    def encode(self, text: str) -> list[int]:
        if not self.names:
            return super().encode(text)
        for word in text.split():
            if word not in self.names:
                raise InputError(f"{word!r} is not a token; allowed, with spaces between: {' '.join(self.names)}")
        return [self.names.index(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.names[id] for id in ids) if self.names else super().decode(ids)

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import answer_metrics

        return answer_metrics(self.vocabulary)


def mask_prompt(text: Tensor, n_given: int) -> Examples:
    """Texts (N, L + 1) -> tokens and targets (N, L): what follows the first ``n_given`` tokens is asked for."""
    targets = text[:, 1:].clone()
    targets[:, : n_given - 1] = IGNORED
    return {"tokens": text[:, :-1], "targets": targets}


def constant_column(value: int, n_examples: int) -> Tensor:
    """The same token for all, (N, 1)."""
    return torch.full((n_examples, 1), value)


def sample_without_replacement(n_examples: int, n_chosen: int, n_choices: int, random: torch.Generator) -> Tensor:
    """For each example different numbers below ``n_choices``, all choices equally likely: (N, n_chosen)."""
    chunks = range(0, n_examples, max(1, 2**24 // n_choices))  # the scores of all at once may not fit
    size = chunks.step
    return torch.cat(
        [
            torch.rand(min(size, n_examples - start), n_choices, generator=random).topk(n_chosen, 1).indices
            for start in chunks
        ]
    )
