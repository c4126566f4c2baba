"""Memory: recalling the token that followed another one earlier, and the kinds of brackets that are still open.

Shapes: N examples, L tokens.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...errors import InputError
from ...registry import register
from ..base import IGNORED, BatchSize, Count, Examples, Length
from .base import GeneratedTask, Symbols, constant_column, sample_without_replacement


@register("task", "associative_recall", source="Arora et al. 2023, arXiv:2312.04927 (multi-query, MQAR)")
class AssociativeRecall(GeneratedTask):
    """Pairs of key and value, then every key once more; at each repeated key its value is to be predicted.

    Keys are tokens of the lower half of ``symbols``, values of the upper half, all different in a sequence. A key is
    repeated 2 g tokens after the pairs with a probability proportional to (g + 1)^(``power`` - 1): uniform at ``power``
    1, earlier below. The tokens between the keys are random, or with ``random_fill: false`` token 0. The correct
    answers are not among the inputs. At longer lengths the same number of pairs is remembered over more tokens.
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
        **options: Any,
    ):
        super().__init__(length=length, batch_size=batch_size, **options)
        if length < 4 * pairs:
            raise InputError(f"task.length: must be at least {4 * pairs} for {pairs} pairs, not {length}")
        if symbols // 2 - 1 < pairs:
            raise InputError(f"task.symbols: must be at least {2 * pairs + 2} for {pairs} pairs, not {symbols}")
        self.symbols, self.pairs, self.power, self.random_fill = symbols, pairs, power, random_fill

    @property
    def vocabulary(self) -> int:
        return self.symbols

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        half, n_before = self.symbols // 2, 2 * self.pairs
        keys = 1 + sample_without_replacement(n_examples, self.pairs, half - 1, random)
        values = half + sample_without_replacement(n_examples, self.pairs, self.symbols - half, random)
        gaps = torch.arange(1, (length - n_before) // 2 + 1)
        weights = gaps.double() ** (self.power - 1)
        # Weighted sampling without replacement: the smallest of exponential variables with rates ``weights``.
        times = torch.empty(n_examples, len(gaps), dtype=torch.float64).exponential_(generator=random) / weights
        positions = n_before + 2 * times.topk(self.pairs, 1, largest=False).indices
        if self.random_fill:
            tokens = torch.randint(self.symbols, (n_examples, length), generator=random)
        else:
            tokens = torch.zeros(n_examples, length, dtype=torch.long)
        tokens[:, :n_before] = torch.stack([keys, values], -1).flatten(1)
        targets = torch.full_like(tokens, IGNORED).scatter(1, positions, values)
        return {"tokens": tokens.scatter(1, positions, keys), "targets": targets}

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """``key`` and ``value``: the pair that a repeated key is about."""
        tokens, asked = batch["tokens"], batch["targets"] != IGNORED
        is_pair = torch.arange(tokens.size(1), device=tokens.device) < 2 * self.pairs
        is_key = is_pair & (torch.arange(tokens.size(1), device=tokens.device) % 2 == 0)
        keys = (tokens.unsqueeze(-1) == tokens.unsqueeze(-2)) & is_key & asked.unsqueeze(-1)
        return {"key": keys, "value": keys.roll(1, -1)}


@register("task", "induction", source="Olsson et al. 2022, arXiv:2209.11895; Fu et al. 2022, arXiv:2212.14052")
class Induction(GeneratedTask):
    """Random symbols with one marker among them, and the marker again at the end: predict what followed the first."""

    purpose: ClassVar[str] = "induction"

    def __init__(
        self,
        *,
        symbols: Symbols = 16,
        length: Annotated[Length, Field(ge=3)] = 64,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.symbols = symbols

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        position = torch.randint(length - 2, (n_examples, 1), generator=random)
        tokens = torch.randint(self.symbols, (n_examples, length), generator=random)
        marker = constant_column(self.symbols, n_examples)
        tokens = tokens.scatter(1, position, marker)
        tokens[:, -1:] = marker
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -1:] = tokens.gather(1, position + 1)
        return {"tokens": tokens, "targets": targets}

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """``answer``: from the last marker to what followed the first."""
        tokens = batch["tokens"]
        after_marker = (tokens == self.symbols).roll(1, 1)
        after_marker[:, 0] = False  # that of the last marker
        asked = batch["targets"] != IGNORED
        return {"answer": asked.unsqueeze(-1) & after_marker.unsqueeze(1)}


@register("task", "dyck", source="Hewitt et al. 2020, arXiv:2010.07515; Yao et al. 2021, arXiv:2105.11115")
class Dyck(GeneratedTask):
    """Balanced brackets of several kinds; the kind of each closing bracket is to be predicted.

    At most ``depth`` brackets are open at once; at each position a bracket opens or closes with equal probability if
    both are possible. The whole sequence is balanced. Only closing brackets are targets, since only they are
    determined by the tokens before.
    """

    purpose: ClassVar[str] = "dyck"

    def __init__(
        self,
        *,
        kinds: Count = 8,
        depth: Count = 8,
        length: Annotated[Length, Field(multiple_of=2)] = 64,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.kinds, self.depth = kinds, depth

    @property
    def vocabulary(self) -> int:
        return 2 * self.kinds + 1

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        coins = torch.randint(2, (length, n_examples), generator=random).bool()
        kinds = torch.randint(self.kinds, (length, n_examples), generator=random)
        rows, depth = torch.arange(n_examples), torch.zeros(n_examples, dtype=torch.long)
        stack = torch.zeros(n_examples, self.depth + 1, dtype=torch.long)
        columns = []
        for position in range(length):
            must_close = (depth == self.depth) | (depth == length - position)
            opens = (depth == 0) | (coins[position] & ~must_close)
            columns.append(torch.where(opens, kinds[position], self.kinds + stack[rows, depth]))
            depth = depth + torch.where(opens, 1, -1)
            top = stack[rows, depth]
            stack[rows, depth] = torch.where(opens, kinds[position], top)
        brackets = torch.stack(columns, 1)
        tokens = torch.cat([constant_column(2 * self.kinds, n_examples), brackets[:, :-1]], 1)
        return {"tokens": tokens, "targets": torch.where(brackets >= self.kinds, brackets, IGNORED)}

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """``partner``: from where a closing bracket is to be predicted to the open one that it closes."""
        tokens = batch["tokens"]
        opens = tokens < self.kinds
        depth = torch.where(opens, 1, torch.where(tokens < 2 * self.kinds, -1, 0)).cumsum(1)  # behind each token
        # The partner is the last bracket that opened the depth which the query is in.
        before = torch.ones(tokens.size(1), tokens.size(1), dtype=torch.bool, device=tokens.device).tril()
        candidates = opens.unsqueeze(1) & (depth.unsqueeze(1) == depth.unsqueeze(2)) & before
        places = torch.arange(tokens.size(1), device=tokens.device)
        last = torch.where(candidates, places, -1).amax(-1, keepdim=True)
        closes = (batch["targets"] != IGNORED).unsqueeze(-1)
        return {"partner": (places == last) & closes}
