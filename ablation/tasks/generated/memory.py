"""Recall: what stood beside a token when it was seen before.

Shapes: N examples, L tokens, P pairs.
"""

# DOC-TO-MERGE: 'Brackets: what is open must be remembered in order.\n\nShapes: N examples, L tokens.\n'

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from ...errors import InputError
from ...registry import register
from ..base import IGNORED, BatchSize, Examples, Length
from .base import Count, Extrapolate, GeneratedTask, Symbols, constant_column, sample_without_replacement


@register("task", "associative_recall", source="Arora et al. 2023, arXiv:2312.04927 (multi-query, MQAR)")
class AssociativeRecall(GeneratedTask):
    """Pairs of key and value, then every key once more somewhere; at each key its value is asked for.

    Keys are tokens of the lower half of ``symbols``, values of the upper half, no two alike in a text. The place of a
    key is 2 g tokens behind the pairs with probability in proportion to (g + 1)^(power - 1): ``power`` 1 is uniform,
    less is nearer. Between the keys stand random tokens, or with ``random_fill: false`` token 0. What was answered is
    not shown. At longer lengths as many pairs are kept over more tokens.
    """

    purpose: ClassVar[str] = "associative_recall"

    def __init__(
        self,
        *,
        symbols: Symbols = 256,
        pairs: Count = 4,
        power: Annotated[float, Field(gt=0, le=1)] = 0.01,
        random_fill: bool = True,
        length: Annotated[Length, Field(multiple_of=2)] = 64,
        batch_size: BatchSize = 64,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        if length < 4 * pairs:
            raise InputError(f"task.length: {length} is too short; {pairs} pairs need at least {4 * pairs}")
        if symbols // 2 - 1 < pairs:
            raise InputError(f"task.symbols: {symbols} are too few; {pairs} pairs need at least {2 * pairs + 2}")
        self.symbols, self.pairs, self.power, self.random_fill = symbols, pairs, power, random_fill

    @property
    def vocabulary(self) -> int:
        return self.symbols

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        half, n_before = self.symbols // 2, 2 * self.pairs
        keys = 1 + sample_without_replacement(n_examples, self.pairs, half - 1, random)
        values = half + sample_without_replacement(n_examples, self.pairs, self.symbols - half, random)
        gaps = torch.arange(1, (length - n_before) // 2 + 1)
        weight = gaps.double() ** (self.power - 1)
        # The first of exponential clocks to ring is each with a chance in proportion to its rate, and so on.
        clocks = torch.empty(n_examples, len(gaps), dtype=torch.float64).exponential_(generator=random) / weight
        places = n_before + 2 * clocks.topk(self.pairs, 1, largest=False).indices
        if self.random_fill:
            tokens = torch.randint(self.symbols, (n_examples, length), generator=random)
        else:
            tokens = torch.zeros(n_examples, length, dtype=torch.long)
        tokens[:, :n_before] = torch.stack([keys, values], -1).flatten(1)
        targets = torch.full_like(tokens, IGNORED).scatter(1, places, values)
        return {"tokens": tokens.scatter(1, places, keys), "targets": targets}


@register("task", "induction", source="Olsson et al. 2022, arXiv:2209.11895; Fu et al. 2022, arXiv:2212.14052")
class Induction(GeneratedTask):
    """Random symbols with one mark among them, and the mark again at the end: what followed it is asked for."""

    purpose: ClassVar[str] = "induction"

    def __init__(
        self,
        *,
        symbols: Symbols = 16,
        length: Annotated[Length, Field(ge=3)] = 64,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        self.symbols = symbols

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        place = torch.randint(length - 2, (n_examples, 1), generator=random)
        tokens = torch.randint(self.symbols, (n_examples, length), generator=random)
        mark = constant_column(self.symbols, n_examples)
        tokens = tokens.scatter(1, place, mark)
        tokens[:, -1:] = mark
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -1:] = tokens.gather(1, place + 1)
        return {"tokens": tokens, "targets": targets}


@register("task", "dyck", source="Hewitt et al. 2020, arXiv:2010.07515; Yao et al. 2021, arXiv:2105.11115")
class Dyck(GeneratedTask):
    """Balanced brackets of several kinds: wherever one closes, which kind it is must be told.

    At most ``depth`` are open at once; at every place a bracket opens or closes with equal chance where both may be.
    The whole text is balanced. Only closing brackets are asked for, since only they are determined.
    """

    purpose: ClassVar[str] = "dyck"

    def __init__(
        self,
        *,
        kinds: Count = 8,
        depth: Count = 8,
        length: Annotated[Length, Field(multiple_of=2)] = 64,
        batch_size: BatchSize = 32,
        epoch_examples: Count = 16_384,
        validation_examples: Count = 512,
        extrapolate: Extrapolate = 1,
    ):
        super().__init__(length, batch_size, epoch_examples, validation_examples, extrapolate)
        self.kinds, self.depth = kinds, depth

    @property
    def vocabulary(self) -> int:
        return 2 * self.kinds + 1

    def draw(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        coins = torch.randint(2, (length, n_examples), generator=random).bool()
        kinds = torch.randint(self.kinds, (length, n_examples), generator=random)
        rows, depth = torch.arange(n_examples), torch.zeros(n_examples, dtype=torch.long)
        stack = torch.zeros(n_examples, self.depth + 1, dtype=torch.long)
        text = []
        for place in range(length):
            must_close = (depth == self.depth) | (depth == length - place)
            opens = (depth == 0) | (coins[place] & ~must_close)
            text.append(torch.where(opens, kinds[place], self.kinds + stack[rows, depth]))
            depth = depth + torch.where(opens, 1, -1)
            top = stack[rows, depth]
            stack[rows, depth] = torch.where(opens, kinds[place], top)
        whole = torch.stack(text, 1)
        tokens = torch.cat([constant_column(2 * self.kinds, n_examples), whole[:, :-1]], 1)
        return {"tokens": tokens, "targets": torch.where(whole >= self.kinds, whole, IGNORED)}
