"""Brackets: what is open must be remembered in order.

Shapes: N examples, L tokens.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from ..registry import register
from .generated import Count, Extrapolate, Generated, column
from .task import IGNORED, BatchSize, Examples, Length


@register("data", "dyck", source="Hewitt et al. 2020, arXiv:2010.07515; Yao et al. 2021, arXiv:2105.11115")
class Dyck(Generated):
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
        tokens = torch.cat([column(2 * self.kinds, n_examples), whole[:, :-1]], 1)
        return {"tokens": tokens, "targets": torch.where(whole >= self.kinds, whole, IGNORED)}
