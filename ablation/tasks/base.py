"""Task: what is learned and how it is scored.

Shapes: N examples, B examples of a batch, L tokens, V token ids in the vocabulary.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import InputError
from .description import LISTED, DataDescription
from .fingerprint import fingerprint_of, fingerprint_of_examples

if TYPE_CHECKING:
    from torchmetrics import Metric

    from .io.files import DataFile

Examples = dict[str, Tensor]
"""Tensors whose first axis counts the examples. ``targets`` is what the model should predict: token ids (N, L), classes
(N,), or for a task with its own loss whatever that takes. All others are the model's inputs, by the names of the
arguments of its ``forward``: ``tokens`` (N, L); ``padding`` (N, L), True at tokens, where sequences differ in length;
``source`` (N, S) and ``source_padding`` (N, S) of sequence-to-sequence tasks; or others that an own model takes."""

IGNORED = -100
"""The target of a token that is not to be predicted."""

LISTED_CLASSES = 100
"""The most classes whose names are recorded with each cell."""

Length = Annotated[int, Field(ge=2)]
BatchSize = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Extrapolate = Literal[1, 2, 4, 8]
"""The largest multiple of the training length to validate on; 4 adds validation sets at 2x and 4x."""


class SentencePairs(NamedTuple):
    """Minimal pairs of one file; see ``tasks.minimal_pairs``."""

    good: Examples
    """``tokens`` and ``targets`` (N, L); the targets of padding and of what comes before a sentence are ignored."""
    bad: Examples
    phenomena: tuple[str, ...]
    """What each pair is about, in the names of scores; empty where the file does not say."""

    @property
    def parts(self) -> list[str]:
        """The endings of the names of its scores: ``""`` of all pairs, then ``:PHENOMENON`` of each phenomenon."""
        return parts_of_pairs(self.phenomena)


def parts_of_pairs(phenomena: Iterable[str]) -> list[str]:
    """``""`` of all pairs, then ``:PHENOMENON`` of each phenomenon, by its name."""
    return ["", *(f":{phenomenon}" for phenomenon in sorted({*phenomena} - {""}))]


class Task:
    """Base class of the tasks. ``length`` and ``batch_size`` are hyper-parameters of each.

    Data that are missing or too few raise an InputError whose text begins with the path of the configuration that it is
    about, as in ``task.path: there is no file``.
    """

    kind: ClassVar[str] = "causal_lm"
    """What a model must be able to do: predict the next token (``causal_lm``), fill gaps (``masked_lm``), classify
    (``classification``), map one sequence to another (``seq2seq``), or any name that an own architecture has in its
    ``tasks``."""
    primary: ClassVar[str] = "loss"
    """The metric on which the comparison rests."""
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    begin: int | None = None
    """In sequence-to-sequence tasks, the token before a target's first one."""
    end: int | None = None
    """The token after a target's last one."""

    def __init__(self, length: int, batch_size: int):
        """``length``: tokens of a training example, 1 where the inputs are not tokens."""
        self.length, self.batch_size = length, batch_size

    @property
    def vocabulary(self) -> int:
        """The number of different token ids, V; 0 where the inputs are not tokens."""
        return 0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence in any of its sets, sources included: what a model must be built for."""
        return self.length

    @property
    def n_classes(self) -> int | None:
        """The number of classes, None where tokens are predicted."""
        return None

    def fingerprint(self) -> str | None:
        """A hash of the data, for a run's identity; None where the hyper-parameters determine the data.

        Errors: InputError when the data are missing or cannot be read.
        """
        return None

    def data_files(self) -> "list[DataFile]":
        """The files that the fingerprint is about, each read once."""
        return []

    def training(self, seed: int, epoch: int) -> Examples:
        """The examples of one epoch, a pure function of (seed, epoch); they are shuffled elsewhere."""
        raise NotImplementedError

    def validation(self) -> Examples:
        """The examples on which every run is scored: the same for all cells and seeds."""
        raise NotImplementedError

    def further_validation(self) -> dict[str, Examples]:
        """Further sets on which every run is scored, by name, such as longer sequences; metrics are ``loss@2x``."""
        return {}

    def final_sets(self) -> dict[str, Examples]:
        """Further sets on which every run is scored once, after its last step, by name, such as test sets."""
        return {}

    def sentence_pairs(self) -> dict[str, SentencePairs]:
        """Minimal pairs on which a language model is scored once, after its last step, by the name of their set."""
        return {}

    def loss(self, logits: Tensor, batch: Examples) -> Tensor:
        """The loss of a batch, a scalar: the mean cross-entropy in nats of logits (B, L, V) or (B, classes).

        Targets that are ``IGNORED`` do not count. A task with another loss overrides this; ``logits`` is then whatever
        its model returns.
        """
        return cross_entropy(logits.flatten(0, -2), batch["targets"].flatten(), ignore_index=IGNORED)

    def count_targets(self, batch: Examples) -> int:
        """What ``loss`` is a mean over: the targets that are not ``IGNORED``.

        Where an optimizer step has several batches, each counts by this number, so that the step is that of one large
        batch. A task whose own loss is the mean over something else overrides this too.
        """
        return int((batch["targets"] != IGNORED).sum())

    def metrics(self) -> "dict[str, Metric]":
        """New torchmetrics by name, which are updated with (logits, targets); one of them is ``loss``.

        They are the same for all sets, of which each gets its own; see ``metrics_of``.
        """
        raise NotImplementedError

    def metrics_of(self, name: str) -> "dict[str, Metric]":
        """Those of a further set, where they depend on its content; they have the same names."""
        return self.metrics()

    def encode(self, text: str) -> list[int]:
        """The token ids of a prompt, or in sequence-to-sequence tasks of a source.

        Errors: InputError naming what is not in the vocabulary, or where the task has no text.
        """
        raise InputError("the task has no text")

    def decode(self, ids: list[int]) -> str:
        """The text of token ids. Errors: InputError where the task has no text."""
        raise InputError("the task has no text")

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """Which keys a query needs by the task's rule, by the relation's name: True there, (B, L, S).

        Of the model's tokens, or with S source tokens of cross-attention; empty where no rule is known.
        """
        return {}

    @property
    def unit(self) -> str:
        """What one target is, with all that decides it apart from the examples: losses are in nats per unit."""
        if type(self).loss is not Task.loss:
            return f"target of the loss of {type(self).__qualname__}"
        return "token" if self.n_classes is None else "class"

    @property
    def classes(self) -> list[str]:
        """The names of the classes in the order of their numbers; empty where tokens are predicted."""
        return [str(number) for number in range(self.n_classes or 0)]

    def measured_on(self) -> dict[str, Any]:
        """What measures of a trained model are about, as plain data: where it differs, they cannot be compared.

        ``unit``: what one target is. ``validation``: a fingerprint of the examples; ``further``: those of all other
        sets, by name. ``classes``: their names, a fingerprint of more than a hundred, None where tokens are predicted.
        Other keys are what else a task's measures depend on. Settings of training alone, and the rows that train, are
        not among them.
        """
        classes = self.classes
        return {
            "unit": self.unit,
            "validation": fingerprint_of_examples(self.validation(), IGNORED),
            "further": {
                name: fingerprint_of_examples(examples, IGNORED)
                for sets in (self.further_validation(), self.final_sets())
                for name, examples in sets.items()
            },
            "classes": (classes if len(classes) <= LISTED_CLASSES else fingerprint_of(classes)) if classes else None,
        }

    def describe(self) -> DataDescription:
        """What a reader of the plan and of the table should know of the data."""
        return DataDescription(
            source=type(self).__name__,
            fingerprint=self.fingerprint(),
            training=count_examples(self.training(0, 0)),
            validation=count_examples(self.validation()),
            vocabulary=self.vocabulary,
            n_classes=self.n_classes,
            classes=tuple(self.classes[:LISTED]),
        )


def multiples_up_to(largest: Extrapolate) -> list[int]:
    """The multiples of the training length that have validation sets of their own."""
    return [multiple for multiple in (2, 4, 8) if multiple <= largest]


def model_inputs(batch: Examples) -> Examples:
    """What the model is given of a batch: all but the targets."""
    return {name: tensor for name, tensor in batch.items() if name != "targets"}


def count_examples(examples: Examples) -> int:
    """The number of examples, N."""
    return len(next(iter(examples.values())))


def count_tokens(examples: Examples) -> int:
    """The number of tokens with padding, sources aside; the number of examples where the inputs are not tokens."""
    return examples["tokens"].numel() if "tokens" in examples else count_examples(examples)
