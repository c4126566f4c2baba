"""Task: what is learned and how it is scored.

Shapes: N examples, L tokens.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from torchmetrics import Metric

Examples = dict[str, Tensor]
"""Tensors whose first axis counts the examples. ``targets`` is what is asked for, (N, L) token ids or (N,) classes; all
others are handed to the model by name: ``tokens`` (N, L), where texts differ in length ``padding`` (N, L), True where
there is a token, and where one text is made from another ``source`` (N, S) and ``source_padding`` (N, S)."""

Kind = Literal["causal_lm", "masked_lm", "classification", "seq2seq"]
"""What a model must be able to do: foretell the next token, fill gaps, tell a class, make one text of another."""

IGNORED = -100
"""The target of a token on which nothing is asked."""

Length = Annotated[int, Field(ge=2)]
BatchSize = Annotated[int, Field(ge=1)]


class Task:
    """Base of the tasks. ``length`` and ``batch_size`` are hyper-parameters of each.

    Data that are absent or do not suffice are an InputError, whose text begins with the path of the configuration that
    it is about, as in ``task.path: there is no file``.
    """

    kind: ClassVar[Kind] = "causal_lm"
    primary: ClassVar[str] = "loss"
    """The metric that the comparison is about."""
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    begin: int | None = None
    """The token that a text made from another begins with, which is no part of it."""
    end: int | None = None
    """The token behind its last one."""

    def __init__(self, length: int, batch_size: int):
        self.length, self.batch_size = length, batch_size

    @property
    def vocabulary(self) -> int:
        """How many different token ids there are."""
        raise NotImplementedError

    @property
    def longest(self) -> int:
        """Tokens of the longest text in any of its sets, sources too: what a model must be built for."""
        return self.length

    @property
    def n_classes(self) -> int | None:
        """How many classes texts are told into, None where tokens are asked for."""
        return None

    def fingerprint(self) -> str | None:
        """What stands for the data themselves in a run's identity, None where the hyper-parameters say it all.

        Errors: InputError when the data are not there or cannot be read.
        """
        return None

    def training(self, seed: int, epoch: int) -> Examples:
        """The examples of one epoch, a pure function of (seed, epoch); their order is drawn by the loader."""
        raise NotImplementedError

    def validation(self) -> Examples:
        """The examples that every run is scored on: the same for all cells and seeds."""
        raise NotImplementedError

    def further_validation(self) -> dict[str, Examples]:
        """By name, sets that every run is scored on as well, such as longer texts; their metrics are ``loss@2x``."""
        return {}

    def metrics(self) -> "dict[str, Metric]":
        """By name, what is updated with logits (B, L, vocabulary) or (B, classes) and targets; ``loss`` is among them.

        Each set has its own; all sets have the same.
        """
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """The token ids of a text: one to go on from, or where one text is made from another, a source.

        Errors: InputError naming what the vocabulary lacks, or where the task has no text.
        """
        raise InputError("the task has no text")

    def decode(self, ids: list[int]) -> str:
        """The text that token ids stand for. Errors: InputError where the task has no text."""
        raise InputError("the task has no text")

    def describe(self) -> dict[str, str | int | None]:
        """What a reader of the table should know of the data."""
        return {"vocabulary": self.vocabulary, "fingerprint": self.fingerprint()}


def count_examples(examples: Examples) -> int:
    """Their number, N."""
    return len(next(iter(examples.values())))
