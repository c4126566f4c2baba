"""Copying and similar tasks: random symbols, a separator, and then a transformation of the symbols.

Shapes: N examples, L tokens.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ...errors import InputError
from ...registry import register
from ..base import IGNORED, Count, Examples, Length
from .base import GeneratedTask, Symbols, constant_column, mask_prompt, sample_without_replacement


class SequenceTransform(GeneratedTask):
    """Random symbols, a separator, then a transformation of the symbols, which is to be predicted."""

    def __init__(
        self,
        *,
        symbols: Symbols = 16,
        length: Annotated[Length, Field(multiple_of=2)] = 32,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        self.symbols = symbols

    @property
    def vocabulary(self) -> int:
        return self.symbols + 1

    @property
    def token_names(self) -> list[str]:
        return [*map(str, range(self.symbols)), "|"]

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        symbols = torch.randint(self.symbols, (n_examples, length // 2), generator=random)
        sequences = torch.cat([symbols, constant_column(self.symbols, n_examples), self.transform(symbols)], 1)
        return mask_prompt(sequences, length // 2 + 1)

    def transform(self, symbols: Tensor) -> Tensor:
        """Symbols (N, L / 2) -> what follows the separator (N, L / 2)."""
        raise NotImplementedError

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """``original``: from where a symbol is to be predicted to where it stood, if its place alone decides that."""
        n_examples, n_tokens = batch["tokens"].shape
        half = n_tokens // 2  # the separator stands there, and the first symbol is predicted from it
        places = self.transform(torch.arange(half).expand(n_examples, -1))
        related = torch.zeros(n_examples, n_tokens, n_tokens, dtype=torch.bool)
        related[:, half:].scatter_(2, places.unsqueeze(-1), True)
        return {"original": related.to(batch["tokens"].device)}


@register("task", "copy", source="Graves et al. 2014, arXiv:1410.5401; Jelassi et al. 2024, arXiv:2402.01032")
class Copy(SequenceTransform):
    """Random symbols, a separator, the same symbols again; only the second half is to be predicted.

    Of ``length`` tokens half are copied symbols. Each epoch has new examples; the validation set is fixed.
    ``extrapolate`` 4 also validates at 2 and 4 times the length.
    """

    purpose: ClassVar[str] = "copy"

    def transform(self, symbols: Tensor) -> Tensor:
        return symbols


@register("task", "reverse", source="Deletang et al. 2022, arXiv:2207.02098")
class Reverse(SequenceTransform):
    """Random symbols, a separator, the symbols in reverse order; only the second half is to be predicted."""

    purpose: ClassVar[str] = "reverse"

    def transform(self, symbols: Tensor) -> Tensor:
        return symbols.flip(1)


@register("task", "sort", source="Deletang et al. 2022, arXiv:2207.02098 (bucket sort)")
class Sort(SequenceTransform):
    """Random symbols, a separator, the symbols in ascending order; only the second half is to be predicted."""

    purpose: ClassVar[str] = "sort"

    def transform(self, symbols: Tensor) -> Tensor:
        return symbols.sort(1).values

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        return {}  # it depends on all symbols which one comes next


@register("task", "selective_copying", source="Gu and Dao 2023, arXiv:2312.00752; Jing et al. 2017, arXiv:1706.02761")
class SelectiveCopying(GeneratedTask):
    """Some symbols among blanks, then as many markers; at each marker the next of the symbols is to be predicted.

    The ``copied`` symbols are at random positions in every example, so a model must recognize blanks by content. The
    correct answers are not among the inputs. At longer lengths the same number of symbols is among more blanks.
    """

    purpose: ClassVar[str] = "selective_copying"

    def __init__(
        self,
        *,
        symbols: Symbols = 16,
        copied: Count = 8,
        length: Length = 64,
        **options: Any,
    ):
        super().__init__(length=length, **options)
        if length < 2 * copied:
            raise InputError(
                f"task.length: must be at least {2 * copied} for {copied} symbols and their markers, not {length}"
            )
        self.symbols, self.copied = symbols, copied

    @property
    def vocabulary(self) -> int:
        return self.symbols + 2

    def sample(self, n_examples: int, length: int, random: torch.Generator) -> Examples:
        blank, marker = self.symbols, self.symbols + 1
        symbols = torch.randint(self.symbols, (n_examples, self.copied), generator=random)
        positions = sample_without_replacement(n_examples, self.copied, length - self.copied, random).sort(1).values
        tokens = torch.full((n_examples, length), blank).scatter(1, positions, symbols)
        tokens[:, -self.copied :] = marker
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -self.copied :] = symbols
        return {"tokens": tokens, "targets": targets}
