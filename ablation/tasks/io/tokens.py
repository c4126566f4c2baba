"""Tokens: what a text is cut into, and the number of each piece."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...errors import InputError, nearest, nearest_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Level = Literal["char", "byte", "word", "bpe"]
MaxVocabulary = Annotated[int, Field(ge=300)]
"""The most tokens a vocabulary of words or of byte pairs may have."""

WORD = re.compile(r"\S+|\n")
"""What stands between spaces; the end of a line is a word of its own."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
MASKS = ("[MASK]", "<mask>")
"""What a gap is called in the tokenizers of BERT and of RoBERTa."""


class TokenizedText:
    """The tokens of one level, learned from texts; ids below ``n_reserved`` are left to the task.

    A character or a word that those texts lack is ``unknown``; bytes and byte pairs can write everything. Words are
    numbered from the most frequent, those equally frequent and characters by code point. With ``tokenizer``, a
    tokenizer.json, nothing is learned: its ids stay what they are, out of ``max_vocabulary`` of which it need not use
    all, and none is left to the task.
    """

    def __init__(
        self,
        level: Level,
        texts: Iterable[str],
        max_vocabulary: int,
        n_reserved: int = 0,
        tokenizer: Path | None = None,
    ):
        self.learned = tokenizer is None
        self.level, self.n_reserved = level, n_reserved
        self.unknown: int | None = None
        self.ids: dict[str, int] = {}
        self.pairs: Tokenizer | None = None
        if level == "byte":
            self.size = n_reserved + 256
        elif tokenizer is not None:
            self.n_reserved, self.size = 0, max_vocabulary
            self.pairs = read_tokenizer(tokenizer, max_vocabulary)
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
            encodings = self.pairs.encode_batch(texts, add_special_tokens=False)
            return [[self.n_reserved + id for id in encoding.ids] for encoding in encodings]
        assert self.unknown is not None
        return [[self.ids.get(piece, self.unknown) for piece in self.pieces(text)] for text in texts]

    def encode_within(self, length: int, texts: list[str]) -> list[list[int]]:
        """The first ``length`` ids of each text; a tokenizer frames it as its own template has it, within these."""
        if self.learned or self.pairs is None:
            return [ids[:length] for ids in self.encode(texts)]
        self.pairs.enable_truncation(length)
        try:
            return [encoding.ids for encoding in self.pairs.encode_batch(texts)]
        finally:
            self.pairs.no_truncation()

    def encode_lines(self, text: str) -> list[int]:
        """The ids of a whole text. What is learned has seen no piece beyond the end of a line."""
        lines = text.splitlines(keepends=True) if self.learned else [text]
        return [id for line in self.encode(lines) for id in line]

    def encode_known(self, text: str) -> list[int]:
        """The same. Errors: InputError naming what the vocabulary lacks."""
        if self.unknown is not None:
            what = "word" if self.level == "word" else "character"
            for piece in self.pieces(text):
                if piece not in self.ids:
                    hint = nearest(piece, self.ids) if self.level == "word" else ""
                    raise InputError(f"{what} {piece!r} is not among the {len(self.ids):,} of the vocabulary{hint}")
        return self.encode_lines(text)

    def decode(self, ids: list[int]) -> str:
        """The text of ids; those left to the task have none."""
        ids = [id - self.n_reserved for id in ids if id >= self.n_reserved]
        if self.level == "byte":
            return bytes(ids).decode(errors="replace")
        if self.pairs is not None:
            decoded: str = self.pairs.decode(ids, skip_special_tokens=False)
            return decoded
        pieces = [self.names[id] for id in ids]
        return " ".join(pieces).replace(" \n ", "\n") if self.level == "word" else "".join(pieces)

    @cached_property
    def names(self) -> list[str]:
        """Words or characters by their id, less those that are left to the task."""
        return [UNKNOWN, *self.ids]

    @property
    def mask(self) -> int:
        """What stands for a gap. Errors: InputError where the tokenizer has nothing for it."""
        assert self.pairs is not None
        found = [id for id in map(self.pairs.token_to_id, MASKS) if id is not None]
        if not found:
            raise InputError(f"task.tokenizer: none of its tokens stands for a gap; looked for {', '.join(MASKS)}")
        return int(found[0])

    def id_of(self, token: str, field: str) -> int:
        """The id of a token of the tokenizer. Errors: InputError about ``field`` where it has none of that name."""
        assert self.pairs is not None
        id = self.pairs.token_to_id(token)
        if id is None:
            hint = nearest(token, self.pairs.get_vocab())
            raise InputError(f"{field}: the tokenizer has no token {token!r}; name one of its tokens{hint}")
        return int(id)


def with_tokenizer(fingerprint: str, tokenizer: Path | None) -> str:
    """The fingerprint of a text or of rows, and of the tokenizer.json that cuts them, if there is one."""
    if tokenizer is None:
        return fingerprint
    return sha256(f"{fingerprint}{sha256(tokenizer.read_bytes()).hexdigest()}".encode()).hexdigest()


NO_TOKENIZERS = "task.level: bpe needs the package tokenizers, the extra `bpe` of this one"


def read_tokenizer(file: Path, size: int) -> "Tokenizer":
    """A tokenizer.json of Hugging Face's tokenizers whose ids are below ``size``. Errors: InputError."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(NO_TOKENIZERS) from None
    if not file.is_file():
        raise InputError(f"task.tokenizer: there is no file {file}{nearest_file(file)}")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"task.tokenizer: {file} is not a tokenizer.json ({error})") from None
    needed = 1 + max(tokenizer.get_vocab().values(), default=0)
    if needed > size:
        raise InputError(f"task.max_vocabulary: the tokenizer needs {needed}, not {size}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def byte_pairs(texts: Iterable[str], size: int) -> "Tokenizer":
    """Byte-level byte pairs (Sennrich et al. 2015, arXiv:1508.07909; Radford et al. 2019), merged by their counts.

    Errors: InputError where the library is not installed.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise InputError(NO_TOKENIZERS) from None
    pairs = Tokenizer(models.BPE())
    pairs.decoder = decoders.ByteLevel()
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    pairs.train_from_iterator(texts, trainer)
    return pairs
