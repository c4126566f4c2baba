"""ListOps: the value of nested lists of digits.

Shapes: N expressions, L tokens, D levels of nesting.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from ...errors import InputError
from ...registry import excluded_from_id, register
from ...rng import generator
from ..base import Count, Examples, Length, count_examples
from ..description import LISTED, DataDescription, shortened
from ..examples import by_size, pad_sequences, range_name, select
from ..io.files import DataFile
from .base import GeneratedClassification

OPERATORS = ("[MAX", "[MIN", "[MED", "[SM", "[FIRST", "[LAST")
CLOSE = 10 + len(OPERATORS)
PAD = CLOSE + 1
MIN_EXAMPLES = 30
"""Fewest examples for a depth to be scored separately; the accuracy on fewer is too uncertain."""
WORDS = {str(digit): digit for digit in range(10)} | {word: 10 + i for i, word in enumerate(OPERATORS)} | {"]": CLOSE}


@register("task", "listops", source="Nangia and Bowman 2018, arXiv:1804.06028")
class ListOps(GeneratedClassification):
    """The value of an expression such as [MAX 2 9 [MIN 4 7 ] 0 ]: one of ten digits.

    Operators are maximum, minimum, median (rounded down), sum modulo 10, first and last, all equally often. A list has
    2 to ``arguments`` arguments; an argument is again a list with probability ``nesting``, at most ``depth`` levels
    deep, until the expression is about as long as its random target length: all lengths up to ``length`` occur about
    equally often; at 2x expressions are longer than ``length`` and at most twice that.
    With ``path`` and ``validation_path`` expressions are read from files instead, one per line: label, tab, expression;
    parentheses are ignored. Expressions longer than ``length`` are left out of training, and those in both files out of
    validation.
    The validation set is also scored in ``buckets`` parts by length, and with ``by_depth`` by the depth of nesting: as
    ``depth4``, or ``depth9-13`` where depths have few expressions. This separates depth from length.
    """

    purpose: ClassVar[str] = "listops"

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        validation_path: Annotated[Path | None, excluded_from_id] = None,
        nesting: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        arguments: Annotated[int, Field(ge=2, le=10)] = 5,
        depth: Annotated[int, Field(ge=2, le=32)] = 10,
        length: Annotated[Length, Field(ge=7)] = 64,
        buckets: Count = 1,
        by_depth: bool = False,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.buckets, self.by_depth = buckets, by_depth
        if (path is None) != (validation_path is None):
            raise InputError("task.validation_path: must be set together with task.path")
        self.path = path
        given = {"task.path": path, "task.validation_path": validation_path}
        self.files = [DataFile(field, file) for field, file in given.items() if file is not None]
        self.nesting, self.arguments, self.depth = nesting, arguments, depth

    @property
    def vocabulary(self) -> int:
        return PAD + 1

    @property
    def n_classes(self) -> int:
        return 10

    def fingerprint(self) -> str | None:
        if not self.files:
            self.sample(8, self.longest, generator(0, self.purpose, "trial"))  # raises the error of unusable settings
            return None
        _ = self.training(0, 0), self.validation(), self.further_validation()  # raises the error of an empty set
        return sha256(b"".join(file.content for file in self.files)).hexdigest()

    def describe(self) -> DataDescription:
        if not self.files:
            return super().describe()
        training, validation = map(read_expressions, self.files)
        n_training, n_validation = count_examples(self.training(0, 0)), count_examples(self.validation())
        return DataDescription(
            source=self.files[0].path.name,
            validation_source=self.files[1].path.name,
            fingerprint=self.fingerprint(),
            items="expressions",
            training=n_training,
            of_training=len(training) if n_training < len(training) else None,
            left_out=f"length {self.length}",
            validation=n_validation,
            of_validation=len(validation) if n_validation < len(validation) else None,
            vocabulary=self.vocabulary,
            n_classes=self.n_classes,
            classes=tuple(self.classes[:LISTED]),
            duplicates=0,  # what is in both files is left out of validation
            first=shortened(next(iter(training))),
            last=shortened([*validation][-1]),
        )

    def data_files(self) -> list[DataFile]:
        return self.files

    @cached_property
    def file_examples(self) -> tuple[Examples, Examples]:
        """The expressions of the files for training and for validation, of all lengths; none is in both."""
        training, validation = map(read_expressions, self.files)
        held_out = {expression: label for expression, label in validation.items() if expression not in training}
        return encode_expressions(training), encode_expressions(held_out)

    def of_length(self, examples: Examples, shortest: int, longest: int, purpose: str) -> Examples:
        """The examples of ``shortest`` to ``longest`` tokens; ``purpose`` is what they are for.

        Errors: InputError where the files have none.
        """
        n_tokens = (examples["tokens"] != PAD).sum(1)
        mask = (shortest <= n_tokens) & (n_tokens <= longest)
        if not mask.any():
            what = f"the files have no expressions of {shortest} to {longest} tokens for {purpose}"
            raise InputError(f"task.length: {what}")
        tokens = examples["tokens"][mask][:, :longest]
        tokens = pad(tokens, (0, longest - tokens.size(1)), value=PAD)
        return {"tokens": tokens, "padding": tokens != PAD, "targets": examples["targets"][mask]}

    def training(self, seed: int, epoch: int) -> Examples:
        if self.path is None:
            return super().training(seed, epoch)
        return self.of_length(self.file_examples[0], 1, self.length, "training")

    def validation(self) -> Examples:
        if self.path is None:
            return super().validation()
        return self.of_length(self.file_examples[1], 1, self.length, "validation")

    def further_validation(self) -> dict[str, Examples]:
        examples = self.validation()
        buckets = by_size(examples, (examples["tokens"] != PAD).sum(1), self.buckets)
        if self.by_depth:
            buckets |= by_depths(examples)
        return {name: trim_padding(bucket) for name, bucket in buckets.items()} | self.longer_validation()

    def longer_validation(self) -> dict[str, Examples]:
        """The validation sets at multiples of the length."""
        if self.path is None:
            return super().further_validation()
        sets = {}
        for multiple in self.multiples:
            name, longest = f"{multiple}x", multiple * self.length
            sets[name] = self.of_length(self.file_examples[1], longest // 2 + 1, longest, name)
        return sets

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        shortest = 4 if length == self.length else length // 2 + 1
        tokens = torch.zeros(0, length, dtype=torch.long)
        for _ in range(5):
            candidates = self.expressions(n_examples, shortest, length, random)
            tokens = torch.cat([tokens, candidates[(candidates != PAD).sum(1) >= shortest]])
            if len(tokens) >= n_examples:
                tokens = tokens[:n_examples]
                return {"tokens": tokens, "padding": tokens != PAD, "targets": evaluate(tokens)}
        what = f"too few random expressions have {shortest} tokens or more; raise nesting, arguments or depth"
        raise InputError(f"task: {what}")

    def expressions(self, n_examples: int, shortest: int, longest: int, random: torch.Generator) -> Tensor:
        """Random expressions (N, L) of at most ``longest`` tokens, most of them of at least ``shortest``."""
        target_length = torch.randint(shortest, longest + 1, (n_examples,), generator=random)
        uniform = torch.rand(longest, n_examples, generator=random)
        sizes = torch.randint(2, min(self.arguments, longest - 2) + 1, (longest, n_examples), generator=random)
        digits = torch.randint(10, (longest, n_examples), generator=random)
        operators = torch.randint(10, CLOSE, (longest, n_examples), generator=random)
        rows, level = torch.arange(n_examples), torch.zeros(n_examples, dtype=torch.long)
        remaining = torch.zeros(n_examples, self.depth + 1, dtype=torch.long)  # arguments still to come, by open list
        pending = torch.ones(n_examples, dtype=torch.long)  # the same for all open lists together
        total = torch.ones(n_examples, dtype=torch.long)  # tokens if all pending arguments were digits
        columns = []
        for position in range(longest):
            size, active = sizes[position], (level > 0) | (position == 0)
            closes = active & (remaining[rows, level] == 0) & (position > 0)
            can_open = active & ~closes & (total + size + 1 <= longest) & (level < self.depth)
            should_open = (total < target_length) & ((uniform[position] < self.nesting) | (pending == 1))
            opens = can_open & (should_open | (position == 0))
            token = torch.where(closes, CLOSE, torch.where(opens, operators[position], digits[position]))
            columns.append(torch.where(active, token, PAD))
            argument = (active & ~closes).long()
            remaining[rows, level] -= argument
            pending, total = pending - argument + opens * size, total + opens * (size + 1)
            level = level + opens.long() - closes.long()
            remaining[rows, level] = torch.where(opens, size, remaining[rows, level])
        return torch.stack(columns, 1)


def by_depths(examples: Examples) -> dict[str, Examples]:
    """The examples by the depth of their expressions; depths with few examples are merged with the next ones."""
    depth = depths(examples["tokens"])
    ranges: list[tuple[int, int]] = []
    first, deepest = int(depth.min()), int(depth.max())
    for last in range(first, deepest + 1):
        if ((first <= depth) & (depth <= last)).sum() >= MIN_EXAMPLES or (last == deepest and not ranges):
            ranges.append((first, last))
            first = last + 1
    ranges[-1] = (ranges[-1][0], deepest)
    return {
        f"depth{range_name(first, last)}": select(examples, (first <= depth) & (depth <= last))
        for first, last in ranges
    }


def depths(tokens: Tensor) -> Tensor:
    """The depths (N,) of expressions (N, L): the most lists open at once, 0 for a single digit."""
    opens, closes = (tokens >= 10) & (tokens < CLOSE), tokens == CLOSE
    return (opens.long() - closes.long()).cumsum(1).amax(1)


def trim_padding(examples: Examples) -> Examples:
    """The same examples without the positions at the end that are padding in all of them."""
    length = int(examples["padding"].sum(1).max())
    return {name: tensor[:, :length] if tensor.dim() == 2 else tensor for name, tensor in examples.items()}


def evaluate(tokens: Tensor) -> Tensor:
    """The values (N,) of expressions (N, L), with a stack that counts the digits of each open list."""
    opens, closes = (tokens >= 10) & (tokens < CLOSE), tokens == CLOSE
    n_levels = int((opens.long() - closes.long()).cumsum(1).max()) + 1
    rows, level = torch.arange(len(tokens)), torch.zeros(len(tokens), dtype=torch.long)
    counts = torch.zeros(len(tokens), n_levels, 10, dtype=torch.long)
    operator, first, last = torch.zeros(3, len(tokens), n_levels, dtype=torch.long)
    for position in range(tokens.size(1)):
        token, opening, closing = tokens[:, position], opens[:, position], closes[:, position]
        value = token.clone()
        if closing.any():
            index = (rows[closing], level[closing])
            value[closing] = apply_operators(operator[index], counts[index], first[index], last[index])
        level = level + opening.long() - closing.long()
        index = (rows[opening], level[opening])
        operator[index], counts[index] = token[opening], 0
        has_value = closing | (token < 10)
        index = (rows[has_value], level[has_value])
        first[index] = torch.where(counts[index].any(-1), first[index], value[has_value])
        last[index] = value[has_value]
        counts[(*index, value[has_value])] += 1
    return last[:, 0]


def apply_operators(operator: Tensor, counts: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The values of lists (N,) from their operators (N,), counts of each digit (N, 10), first and last digits (N,)."""
    occurs, cumulative = counts > 0, counts.cumsum(1)
    n_values = cumulative[:, -1:]
    lower, upper = (cumulative > (n_values - 1) // 2).int().argmax(1), (cumulative > n_values // 2).int().argmax(1)
    median = (lower + upper) // 2
    total = (counts * torch.arange(10)).sum(1) % 10
    largest, smallest = 9 - occurs.flip(1).int().argmax(1), occurs.int().argmax(1)
    results = torch.stack([largest, smallest, median, total, first, last], 1)
    return results.gather(1, operator[:, None] - 10)[:, 0]


def read_expressions(file: DataFile) -> dict[str, int]:
    """Labels by expression. Errors: InputError with the line."""
    labels: dict[str, int] = {}
    if not file.text:
        raise InputError(f"{file.field}: {file.path} is empty; expected lines of label, tab and expression")
    for number, line in enumerate(file.text.removesuffix("\n").split("\n"), 1):
        label, _, expression = line.partition("\t")
        words = [word for word in expression.split() if word not in ("(", ")")]
        if (
            label not in WORDS
            or WORDS[label] > 9
            or any(word not in WORDS for word in words)
            or not is_expression(words)
        ):
            raise InputError(f"{file.field}: {file.path}:{number}: expected a digit, a tab and an expression")
        if (before := labels.setdefault(" ".join(words), int(label))) != int(label):
            what = f"the expression has the label {label} here and {before} before"
            raise InputError(f"{file.field}: {file.path}:{number}: {what}")
    return labels


def is_expression(words: list[str]) -> bool:
    """Whether the words are a digit, or a list in which every bracket is closed."""
    if len(words) == 1:
        return words[0].isdigit()
    n_open = sum(word in OPERATORS for word in words)
    return bool(words) and words[0] in OPERATORS and words[-1] == "]" and n_open == words.count("]")


def encode_expressions(labels: dict[str, int]) -> Examples:
    """Tokens (N, L) and targets (N,) of expressions and their labels."""
    tokens = pad_sequences([[WORDS[word] for word in expression.split()] for expression in labels], None, PAD)
    return {"tokens": tokens, "targets": torch.tensor(list(labels.values()), dtype=torch.long)}
