"""The base of the tasks whose examples are generated at random, at any length.

Shapes: N examples, L tokens.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...errors import InputError
from ...processes import machine_memory
from ...rng import generator
from ..base import IGNORED, BatchSize, Count, Examples, Extrapolate, Length, Task, multiples_up_to
from ..description import LISTED, DataDescription

if TYPE_CHECKING:
    from torchmetrics import Metric

BYTES_PER_TOKEN = 24
"""Of the random numbers, tokens and targets that examples are made of."""
Symbols = Annotated[int, Field(ge=2)]


class GeneratedTask(Task):
    """Each epoch has new random examples; the validation sets are fixed."""

    primary = "exact_match"
    better = "higher"
    purpose: ClassVar[str]
    """Seeds the random numbers together with the run's seed, so that no two tasks have the same numbers."""

    def __init__(
        self,
        *,
        length: Length,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size)
        self.epoch_examples, self.validation_examples = epoch_examples, validation_examples
        self.multiples = multiples_up_to(extrapolate)
        self._refuse_too_large()

    def _refuse_too_large(self) -> None:
        """Errors: InputError, at the largest setting, where the examples do not fit into memory."""
        n_tokens = max(self.epoch_examples * self.length, self.validation_examples * self.longest)
        n_bytes, memory = BYTES_PER_TOKEN * n_tokens, machine_memory()
        if n_bytes > memory:
            name = max("length", "epoch_examples", "validation_examples", key=lambda name: int(getattr(self, name)))
            what = f"the examples of an epoch or of a validation set take {n_bytes / 1e9:,.0f} GB"
            raise InputError(f"task.{name}: {what}, and this machine has {memory / 1e9:,.0f}")

    @property
    def longest(self) -> int:
        return self.length * max(self.multiples, default=1)

    def training(self, seed: int, epoch: int) -> Examples:
        return self.sample(self.epoch_examples, self.length, generator(seed, self.purpose, epoch))

    def validation(self) -> Examples:
        return self.fixed_examples

    @cached_property
    def fixed_examples(self) -> Examples:
        """The validation set, sampled once."""
        return self.sample(self.validation_examples, self.length, generator(0, self.purpose, "validation"))

    def further_validation(self) -> dict[str, Examples]:
        return {
            f"{multiple}x": self.sample(
                self.validation_examples, multiple * self.length, generator(0, self.purpose, f"{multiple}x")
            )
            for multiple in self.multiples
        }

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        """Random examples of at most ``length`` tokens. Errors: InputError where the settings allow too few of them."""
        raise NotImplementedError

    def sample_lengths(self, n_examples: int, length: int, shortest: int, random: torch.Generator) -> Tensor:
        """Random lengths of sequences (N,), for tasks whose sequences have different lengths.

        Uniform up to ``length``: from ``shortest`` at the training length, from length / 2 + 1 in a set at 2x or more.
        """
        lowest = shortest if length == self.length else length // 2 + 1
        return torch.randint(lowest, length + 1, (n_examples,), generator=random)

    @property
    def unit(self) -> str:
        return "class" if self.n_classes is not None else f"token of {self.vocabulary:,}"

    def describe(self) -> DataDescription:
        return DataDescription(
            source=f"new random examples of {self.purpose.replace('_', ' ')} in each epoch",
            training=self.epoch_examples,
            validation=self.validation_examples,
            length=self.length,
            vocabulary=self.vocabulary,
            n_classes=self.n_classes,
            classes=tuple(self.classes[:LISTED]),
        )

    @property
    def token_names(self) -> list[str]:
        """The tokens as text, in the order of their ids, for tasks whose sequences can be continued; else empty."""
        return []

    def encode(self, text: str) -> list[int]:
        if not self.token_names:
            return super().encode(text)
        for word in text.split():
            if word not in self.token_names:
                raise InputError(f"{word!r} is not a token; allowed, with spaces between: {' '.join(self.token_names)}")
        return [self.token_names.index(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.token_names[id] for id in ids) if self.token_names else super().decode(ids)

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import answer_metrics

        return answer_metrics(self.vocabulary)


class GeneratedClassification(GeneratedTask):
    """Classification of sequences of at most ``length`` tokens, padded at the end."""

    kind = "classification"
    primary = "accuracy"

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import class_metrics

        assert self.n_classes is not None
        return class_metrics(self.n_classes)


def mask_prompt(sequences: Tensor, n_prompt: int) -> Examples:
    """Sequences (N, L + 1) -> tokens and targets (N, L); the first ``n_prompt`` tokens are not to be predicted."""
    targets = sequences[:, 1:].clone()
    targets[:, : n_prompt - 1] = IGNORED
    return {"tokens": sequences[:, :-1], "targets": targets}


def constant_column(value: int, n_examples: int) -> Tensor:
    """One token for all examples, (N, 1)."""
    return torch.full((n_examples, 1), value)


def sample_without_replacement(n_examples: int, n_chosen: int, n_choices: int, random: torch.Generator) -> Tensor:
    """For each example, different numbers below ``n_choices``, uniformly sampled: (N, ``n_chosen``)."""
    chunks = range(
        0, n_examples, max(1, 2**24 // n_choices)
    )  # the random keys of all examples together may not fit into memory
    size = chunks.step
    return torch.cat(
        [
            torch.rand(min(size, n_examples - start), n_choices, generator=random).topk(n_chosen, 1).indices
            for start in chunks
        ]
    )
