"""ListOps: the value of nested lists of digits.

Shapes: N expressions, L tokens, D lists that are open at once.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from ...errors import InputError
from ...registry import excluded_from_id, register
from ...rng import generator
from ..base import BatchSize, Examples, Length
from ..io.rows import pad_sequences, read_bytes, read_text
from ..pairs import by_size, select, span
from .arithmetic import GeneratedClassification
from .base import Count, Extrapolate

OPERATORS = ("[MAX", "[MIN", "[MED", "[SM", "[FIRST", "[LAST")
CLOSE = 10 + len(OPERATORS)
PAD = CLOSE + 1
FEWEST = 30
"""Examples of a depth that is scored for itself; of fewer an accuracy says little."""
WORDS = {str(digit): digit for digit in range(10)} | {word: 10 + i for i, word in enumerate(OPERATORS)} | {"]": CLOSE}


@register("task", "listops", source="Nangia and Bowman 2018, arXiv:1804.06028")
class ListOps(GeneratedClassification):
    """The value of an expression such as [MAX 2 9 [MIN 4 7 ] 0 ]: one of ten digits.

    Operators are largest, smallest, median (rounded down), sum modulo 10, first and last, each equally often. A list
    has 2 to ``arguments`` arguments, and an argument is a list again with probability ``nesting``, at most ``depth``
    in one another, until the expression is about as long as was drawn for it: all lengths up to ``length`` come about
    equally often; at 2x expressions are longer than ``length`` and at most twice that.
    With ``path`` and ``validation_path`` expressions are read instead: lines of label, tab and expression, whose
    parentheses are dropped. What is longer than ``length`` does not train,
    what is in both files does not validate.
    The validation set is scored in ``buckets`` parts by length as well, and with ``by_depth`` by how many lists are
    open at once: as ``depth4``, or where there are few of a depth together with its neighbors as ``depth9-13``. So
    depth is told from length, as far as lengths up to ``length`` go.
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
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
        buckets: Count = 1,
        by_depth: bool = False,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        self.buckets, self.by_depth = buckets, by_depth
        if (path is None) != (validation_path is None):
            raise InputError("task.validation_path: name both files, path and validation_path, or neither")
        self.path, self.validation_path = path, validation_path
        self.nesting, self.arguments, self.depth = nesting, arguments, depth

    @property
    def vocabulary(self) -> int:
        return PAD + 1

    @property
    def n_classes(self) -> int:
        return 10

    def fingerprint(self) -> str | None:
        if self.path is None or self.validation_path is None:
            self.draw(8, self.longest, generator(0, self.purpose, "trial"))  # refuses what cannot be drawn
            return None
        _ = self.training(0, 0), self.validation(), self.further_validation()  # refuses what is empty
        contents = b"".join(read_bytes(file, f"task.{field}") for field, file in self.files.items())
        return sha256(contents).hexdigest()

    @property
    def files(self) -> dict[str, Path]:
        assert self.path is not None and self.validation_path is not None
        return {"path": self.path, "validation_path": self.validation_path}

    @cached_property
    def read(self) -> tuple[Examples, Examples]:
        """Expressions for training, and for validation those of them that do not train; of every length."""
        training, validation = (read_expressions(file, f"task.{field}") for field, file in self.files.items())
        return encode(training), encode({text: label for text, label in validation.items() if text not in training})

    def within(self, examples: Examples, shortest: int, longest: int, what: str) -> Examples:
        """Those of ``shortest`` to ``longest`` tokens."""
        n_tokens = (examples["tokens"] != PAD).sum(1)
        chosen = (shortest <= n_tokens) & (n_tokens <= longest)
        if not chosen.any():
            raise InputError(f"task.length: the files have no expressions of {shortest} to {longest} tokens for {what}")
        tokens = examples["tokens"][chosen][:, :longest]
        tokens = pad(tokens, (0, longest - tokens.size(1)), value=PAD)
        return {"tokens": tokens, "padding": tokens != PAD, "targets": examples["targets"][chosen]}

    def training(self, seed: int, epoch: int) -> Examples:
        if self.path is None:
            return super().training(seed, epoch)
        return self.within(self.read[0], 1, self.length, "training")

    def validation(self) -> Examples:
        if self.path is None:
            return super().validation()
        return self.within(self.read[1], 1, self.length, "validation")

    def further_validation(self) -> dict[str, Examples]:
        usual = self.validation()
        parts = by_size(usual, (usual["tokens"] != PAD).sum(1), self.buckets)
        if self.by_depth:
            parts |= by_depths(usual)
        return {name: narrow(part) for name, part in parts.items()} | self.longer()

    def longer(self) -> dict[str, Examples]:
        """Those at 2x and further."""
        if self.path is None:
            return super().further_validation()
        return {
            f"{multiple}x": self.within(
                self.read[1], multiple * self.length // 2 + 1, multiple * self.length, f"{multiple}x"
            )
            for multiple in self.multiples
        }

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        shortest = 4 if length == self.length else length // 2 + 1
        found = torch.zeros(0, length, dtype=torch.long)
        for _ in range(5):
            drawn = self.expressions(n_examples, shortest, length, random)
            found = torch.cat([found, drawn[(drawn != PAD).sum(1) >= shortest]])
            if len(found) >= n_examples:
                tokens = found[:n_examples]
                return {"tokens": tokens, "padding": tokens != PAD, "targets": evaluate(tokens)}
        what = f"hardly any expression gets as long as {shortest} tokens; raise nesting, arguments or depth"
        raise InputError(f"task: {what}")

    def expressions(self, n_examples: int, shortest: int, longest: int, random: torch.Generator) -> Tensor:
        """Token ids (N, L) of expressions of at most ``longest`` tokens, most of them of at least ``shortest``."""
        aim = torch.randint(shortest, longest + 1, (n_examples,), generator=random)
        chances = torch.rand(longest, n_examples, generator=random)
        sizes = torch.randint(2, min(self.arguments, longest - 2) + 1, (longest, n_examples), generator=random)
        digits = torch.randint(10, (longest, n_examples), generator=random)
        operators = torch.randint(10, CLOSE, (longest, n_examples), generator=random)
        rows, level = torch.arange(n_examples), torch.zeros(n_examples, dtype=torch.long)
        missing = torch.zeros(n_examples, self.depth + 1, dtype=torch.long)  # arguments of each open list
        pending, total = torch.ones(2, n_examples, dtype=torch.long)  # arguments of all, tokens if all were digits
        text = []
        for place in range(longest):
            size, active = sizes[place], (level > 0) | (place == 0)
            closes = active & (missing[rows, level] == 0) & (place > 0)
            may = active & ~closes & (total + size + 1 <= longest) & (level < self.depth)
            wanted = (total < aim) & ((chances[place] < self.nesting) | (pending == 1))
            opens = may & (wanted | (place == 0))
            token = torch.where(closes, CLOSE, torch.where(opens, operators[place], digits[place]))
            text.append(torch.where(active, token, PAD))
            argument = (active & ~closes).long()
            missing[rows, level] -= argument
            pending, total = pending - argument + opens * size, total + opens * (size + 1)
            level = level + opens.long() - closes.long()
            missing[rows, level] = torch.where(opens, size, missing[rows, level])
        return torch.stack(text, 1)


def by_depths(examples: Examples) -> dict[str, Examples]:
    """The examples by the depth of their expressions, from the shallowest; rare depths join their neighbors."""
    depth = depths(examples["tokens"])
    parts: list[tuple[int, int]] = []
    first, deepest = int(depth.min()), int(depth.max())
    for last in range(first, deepest + 1):
        if ((first <= depth) & (depth <= last)).sum() >= FEWEST or (last == deepest and not parts):
            parts.append((first, last))
            first = last + 1
    parts[-1] = (parts[-1][0], deepest)
    return {f"depth{span(*ends)}": select(examples, (ends[0] <= depth) & (depth <= ends[1])) for ends in parts}


def depths(tokens: Tensor) -> Tensor:
    """How many lists of each expression (N, L) are open at once (N,), 0 for a digit alone."""
    opens, closes = (tokens >= 10) & (tokens < CLOSE), tokens == CLOSE
    return (opens.long() - closes.long()).cumsum(1).amax(1)


def narrow(examples: Examples) -> Examples:
    """The same without the columns in which there is nothing but padding."""
    width = int(examples["padding"].sum(1).max())
    return {name: tensor[:, :width] if tensor.dim() == 2 else tensor for name, tensor in examples.items()}


def evaluate(tokens: Tensor) -> Tensor:
    """The values (N,) of expressions (N, L), by a stack that holds of each open list how often each digit came."""
    opens, closes = (tokens >= 10) & (tokens < CLOSE), tokens == CLOSE
    n_levels = int((opens.long() - closes.long()).cumsum(1).max()) + 1
    rows, level = torch.arange(len(tokens)), torch.zeros(len(tokens), dtype=torch.long)
    counts = torch.zeros(len(tokens), n_levels, 10, dtype=torch.long)
    operator, first, last = torch.zeros(3, len(tokens), n_levels, dtype=torch.long)
    for place in range(tokens.size(1)):
        token, opening, closing = tokens[:, place], opens[:, place], closes[:, place]
        value = token.clone()
        if closing.any():
            here = (rows[closing], level[closing])
            value[closing] = apply(operator[here], counts[here], first[here], last[here])
        level = level + opening.long() - closing.long()
        here = (rows[opening], level[opening])
        operator[here], counts[here] = token[opening], 0
        given = closing | (token < 10)
        here = (rows[given], level[given])
        first[here] = torch.where(counts[here].any(-1), first[here], value[given])
        last[here] = value[given]
        counts[(*here, value[given])] += 1
    return last[:, 0]


def apply(operator: Tensor, counts: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """What lists come to: operators (N,), how often each digit came (N, 10), the first and the last of them (N,)."""
    seen, below = counts > 0, counts.cumsum(1)
    n_values = below[:, -1:]
    middle = ((below > (n_values - 1) // 2).int().argmax(1) + (below > n_values // 2).int().argmax(1)) // 2
    total = (counts * torch.arange(10)).sum(1) % 10
    results = torch.stack([9 - seen.flip(1).int().argmax(1), seen.int().argmax(1), middle, total, first, last], 1)
    return results.gather(1, operator[:, None] - 10)[:, 0]


def read_expressions(file: Path, field: str) -> dict[str, int]:
    """Labels by expression. Errors: InputError that names the line."""
    labels = {}
    for number, line in enumerate(read_text(file, field).splitlines(), 1):
        label, _, expression = line.partition("\t")
        words = [word for word in expression.split() if word not in ("(", ")")]
        if label not in WORDS or WORDS[label] > 9 or any(word not in WORDS for word in words) or not closed(words):
            raise InputError(f"{field}: {file}:{number}: a digit, a tab and an expression are wanted")
        labels[" ".join(words)] = int(label)
    if not labels:
        raise InputError(f"{field}: {file} is empty; lines of label, tab and expression are wanted")
    return labels


def closed(words: list[str]) -> bool:
    """Whether they are a digit, or a list in which every list ends."""
    if len(words) == 1:
        return words[0].isdigit()
    n_open = sum(word in OPERATORS for word in words)
    return bool(words) and words[0] in OPERATORS and words[-1] == "]" and n_open == words.count("]")


def encode(labels: dict[str, int]) -> Examples:
    """Expressions and what they are said to come to."""
    tokens = pad_sequences([[WORDS[word] for word in text.split()] for text in labels], None, PAD)
    return {"tokens": tokens, "targets": torch.tensor(list(labels.values()), dtype=torch.long)}
