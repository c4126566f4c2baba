"""Tokens: how a text is split into characters, bytes, words or byte pairs, and the id of each."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...errors import InputError, nearest
from ..fingerprint import fingerprint_of
from .files import DataFile

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Level = Literal["char", "byte", "word", "bpe"]
MaxVocabulary = Annotated[int, Field(ge=1)]
"""Largest number of tokens in a vocabulary of words or byte pairs; exactly that of a tokenizer.json."""
LEAST_LEARNED = 300
"""A vocabulary that is learned has room for every byte and for the tokens of the task."""

WORD = re.compile(r"\S+|\n")
"""Words are separated by spaces; the end of a line is a word of its own."""
LINE_END = re.compile(" ?\n ?")
"""The end of a line between words that are joined by spaces."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
MASKS = ("[MASK]", "<mask>")
"""The mask token of the tokenizers of BERT and of RoBERTa."""


class TextTokenizer:
    """Splits text into tokens of one level; its vocabulary is learned from texts or that of a tokenizer.json.

    A learned vocabulary leaves ids below ``n_reserved`` to the task. Characters and words that the texts do not contain
    are ``unknown``; bytes and byte pairs can represent every text. Words are numbered by decreasing frequency, words of
    equal frequency and characters by code point. With ``tokenizer``, a tokenizer.json, nothing is learned and no id is
    reserved; the size of the vocabulary is then ``max_vocabulary``, even if the tokenizer has fewer tokens.
    """

    def __init__(
        self,
        level: Level,
        texts: Iterable[str],
        max_vocabulary: int,
        n_reserved: int = 0,
        tokenizer: DataFile | None = None,
    ):
        self.learned = tokenizer is None
        self.level, self.n_reserved = level, n_reserved
        self.unknown: int | None = None
        self.ids: dict[str, int] = {}
        self.byte_pairs: Tokenizer | None = None
        if level in ("word", "bpe") and tokenizer is None and max_vocabulary < LEAST_LEARNED:
            what = f"must be at least {LEAST_LEARNED} without a tokenizer, not {max_vocabulary}"
            raise InputError(f"task.max_vocabulary: {what}")
        if level == "byte":
            self.size = n_reserved + 256
        elif tokenizer is not None:
            self.n_reserved, self.size = 0, max_vocabulary
            self.byte_pairs = read_tokenizer(tokenizer, max_vocabulary)
        elif level == "bpe":
            self.byte_pairs = learn_byte_pairs(texts, max_vocabulary - n_reserved)
            self.size = n_reserved + self.byte_pairs.get_vocab_size()
        else:
            counts = Counter(token for text in texts for token in self.split(text))
            tokens = sorted(counts, key=lambda token: (-counts[token], token)) if level == "word" else sorted(counts)
            if level == "word":
                tokens = tokens[: max_vocabulary - n_reserved - 1]
            self.unknown = n_reserved
            self.ids = {token: id for id, token in enumerate(tokens, n_reserved + 1)}
            self.size = n_reserved + 1 + len(tokens)

    def split(self, text: str) -> Iterable[str]:
        """The words or the characters of a text."""
        return WORD.findall(text) if self.level == "word" else text

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, without special tokens."""
        if self.level == "byte":
            return [[self.n_reserved + byte for byte in text.encode()] for text in texts]
        if self.byte_pairs is not None:
            encodings = split_with(self.byte_pairs, texts, add_special_tokens=False)
            return [[self.n_reserved + id for id in encoding.ids] for encoding in encodings]
        assert self.unknown is not None
        return [[self.ids.get(token, self.unknown) for token in self.split(text)] for text in texts]

    def encode_truncated(self, texts: list[str], length: int) -> tuple[list[list[int]], int]:
        """The first ``length`` ids of each text, and how many texts were cut.

        A tokenizer.json adds its special tokens within this length.
        """
        if self.learned or self.byte_pairs is None:
            encoded = self.encode(texts)
            return [ids[:length] for ids in encoded], sum(len(ids) > length for ids in encoded)
        self.byte_pairs.enable_truncation(length)
        try:
            encodings = split_with(self.byte_pairs, texts)
            return [encoding.ids for encoding in encodings], sum(bool(encoding.overflowing) for encoding in encodings)
        finally:
            self.byte_pairs.no_truncation()

    def encode_lines(self, text: str) -> list[int]:
        """The ids of a long text; a learned vocabulary has no token that goes beyond the end of a line."""
        lines = text.splitlines(keepends=True) if self.learned else [text]
        return [id for line in self.encode(lines) for id in line]

    def encode_known(self, text: str) -> list[int]:
        """The same. Errors: InputError naming a word or a character that is not in the vocabulary."""
        if self.unknown is not None:
            kind = "word" if self.level == "word" else "character"
            for token in self.split(text):
                if token not in self.ids:
                    hint = nearest(token, self.ids) if self.level == "word" else ""
                    raise InputError(f"{kind} {token!r} is not among the {len(self.ids):,} of the vocabulary{hint}")
        return self.encode_lines(text)

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without reserved ones."""
        ids = [id - self.n_reserved for id in ids if id >= self.n_reserved]
        if self.level == "byte":
            return bytes(ids).decode(errors="replace")
        if self.byte_pairs is not None:
            decoded: str = self.byte_pairs.decode(ids, skip_special_tokens=False)
            return decoded
        tokens = [self.tokens[id] for id in ids]
        return LINE_END.sub("\n", " ".join(tokens)) if self.level == "word" else "".join(tokens)

    @cached_property
    def fingerprint(self) -> str:
        """A fingerprint of the vocabulary: of what each id means, and of how a text is split."""
        if self.level == "byte":
            return ""
        return fingerprint_of(list(self.ids) if self.byte_pairs is None else self.byte_pairs.to_str())

    @property
    def unit(self) -> str:
        """What one token is."""
        if self.level == "byte":
            return "byte"
        name = {"char": "character", "word": "word", "bpe": "byte pair"}[self.level]
        return f"{name} of {self.size:,} (vocabulary {self.fingerprint})"

    @cached_property
    def tokens(self) -> list[str]:
        """Words or characters in the order of their ids, from ``n_reserved``."""
        return [UNKNOWN, *self.ids]

    @property
    def mask(self) -> int:
        """The id of the mask token of a tokenizer.json. Errors: InputError if it has none."""
        assert self.byte_pairs is not None
        ids = [id for id in map(self.byte_pairs.token_to_id, MASKS) if id is not None]
        if not ids:
            raise InputError(f"task.tokenizer: has no mask token; expected one of {', '.join(MASKS)}")
        return int(ids[0])

    def id_of(self, token: str, field: str) -> int:
        """The id of a token of a tokenizer.json. Errors: InputError about ``field`` if there is no such token."""
        assert self.byte_pairs is not None
        id = self.byte_pairs.token_to_id(token)
        if id is None:
            hint = nearest(token, self.byte_pairs.get_vocab())
            raise InputError(f"{field}: the tokenizer has no token {token!r}; use one of its tokens{hint}")
        return int(id)


def check_level(level: Level, tokenizer: Path | None) -> None:
    """Errors: InputError for a tokenizer.json at another level than ``bpe``."""
    if tokenizer is not None and level != "bpe":
        raise InputError(f"task.tokenizer: needs level: bpe, not level: {level}")


def tokenizer_file(path: Path | None) -> DataFile | None:
    """The file of a tokenizer.json that a task was given."""
    return None if path is None else DataFile("task.tokenizer", path)


def fingerprint_with_tokenizer(fingerprint: str, tokenizer: DataFile | None) -> str:
    """The fingerprint of data together with that of their tokenizer.json, if there is one."""
    if tokenizer is None:
        return fingerprint
    return sha256(f"{fingerprint}{tokenizer.state.sha256}".encode()).hexdigest()


NO_TOKENIZERS = "task.level: bpe needs the package tokenizers, the extra `bpe` of this package"


def read_tokenizer(file: DataFile, size: int) -> "Tokenizer":
    """A tokenizer.json of Hugging Face's tokenizers whose ids are below ``size``. Errors: InputError."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(NO_TOKENIZERS) from None
    text = file.text
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"task.tokenizer: {file.path} is not a tokenizer.json ({error})") from None
    needed = 1 + max(tokenizer.get_vocab().values(), default=0)
    if needed > size:
        raise InputError(f"task.max_vocabulary: must be at least {needed} for this tokenizer, not {size}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split_with(tokenizer: "Tokenizer", texts: list[str], **options: bool) -> "list[Encoding]":
    """The encodings of ``texts``. Errors: InputError where the tokenizer cannot split one of them."""
    try:
        encodings: list[Encoding] = tokenizer.encode_batch(texts, **options)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"task.tokenizer: cannot split the text ({error})") from None
    return encodings


def learn_byte_pairs(texts: Iterable[str], size: int) -> "Tokenizer":
    """A byte-level BPE tokenizer (Sennrich et al. 2015, arXiv:1508.07909; Radford et al. 2019) learned from ``texts``.

    Errors: InputError when the library is not installed.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise InputError(NO_TOKENIZERS) from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
