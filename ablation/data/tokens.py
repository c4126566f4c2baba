"""Tokens: what a text is cut into, and the number of each piece."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ..errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Level = Literal["char", "byte", "word", "bpe"]
MaxVocabulary = Annotated[int, Field(ge=300)]
"""The most tokens a vocabulary of words or of byte pairs may have."""

WORD = re.compile(r"\S+|\n")
"""What stands between spaces; the end of a line is a word of its own."""


class Tokens:
    """The tokens of one level, learnt from texts; ids below ``n_reserved`` are left to the task.

    A character or a word that those texts lack is ``unknown``; bytes and byte pairs can write everything. Words are
    numbered from the most frequent, those equally frequent and characters by code point.
    """

    def __init__(self, level: Level, texts: Iterable[str], max_vocabulary: int, n_reserved: int = 0):
        self.level, self.n_reserved = level, n_reserved
        self.unknown: int | None = None
        self.ids: dict[str, int] = {}
        self.pairs: Tokenizer | None = None
        if level == "byte":
            self.size = n_reserved + 256
        elif level == "bpe":
            self.pairs = byte_pairs(texts, max_vocabulary - n_reserved)
            self.size = n_reserved + self.pairs.get_vocab_size()
        else:
            counts = Counter(piece for text in texts for piece in self.pieces(text))
            pieces = sorted(counts, key=lambda piece: (-counts[piece], piece)) if level == "word" else sorted(counts)
            if level == "word":
                pieces = pieces[: max_vocabulary - n_reserved - 1]
            self.unknown = n_reserved
            self.ids = {piece: id for id, piece in enumerate(pieces, n_reserved + 1)}
            self.size = n_reserved + 1 + len(pieces)

    def pieces(self, text: str) -> Iterable[str]:
        return WORD.findall(text) if self.level == "word" else text

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text."""
        if self.level == "byte":
            return [[self.n_reserved + byte for byte in text.encode()] for text in texts]
        if self.pairs is not None:
            return [[self.n_reserved + id for id in encoding.ids] for encoding in self.pairs.encode_batch(texts)]
        assert self.unknown is not None
        return [[self.ids.get(piece, self.unknown) for piece in self.pieces(text)] for text in texts]


def byte_pairs(texts: Iterable[str], size: int) -> "Tokenizer":
    """Byte-level byte pairs (Sennrich et al. 2015, arXiv:1508.07909; Radford et al. 2019), merged by their counts.

    Errors: InputError where the library is not installed.
    """
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise InputError("data.level: bpe needs the package tokenizers, the extra `bpe` of this one") from None
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    pairs.train_from_iterator(texts, trainer)
    return pairs
