"""TextTask: a text file as tokens, the first part of which trains and the last validates.

Shapes: N windows, L tokens of a window, T tokens of a text, V token ids in the vocabulary.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ...errors import InputError
from ...registry import added_later, excluded_from_id
from ...rng import generator
from ..base import BatchSize, Examples, Extrapolate, Fraction, Length, Task, multiples_up_to
from ..description import DataDescription, count_repeated_windows, shortened, shortened_end
from ..fingerprint import fingerprint_of
from ..io.embedded import StandardLibrary
from ..io.files import DataFile, plain_bytes, plain_text
from ..io.saved import read_text_column
from ..io.tokens import Level, MaxVocabulary, TextTokenizer, check_level, fingerprint_with_tokenizer, tokenizer_file

MAX_VOCABULARY = 8192
DESCRIBED = 300
"""Bytes at both ends of the text that are enough to show what it begins and ends with."""
PIECE = 16
"""Windows of each of the pieces that a text is limited to."""


class TextTask(Task):
    """Base of the tasks of a text file: windows of its first part train, windows of its last part validate."""

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        level: Level = "char",
        length: Length = 128,
        batch_size: BatchSize = 32,
        validation: Fraction = 0.1,
        validation_windows: Annotated[int, Field(ge=1)] = 256,
        max_vocabulary: MaxVocabulary = MAX_VOCABULARY,
        extrapolate: Extrapolate = 1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
        training_tokens: Annotated[Annotated[int, Field(ge=1)] | None, added_later(None)] = None,
    ):
        super().__init__(length, batch_size)
        self.training_tokens = training_tokens
        check_level(level, tokenizer)
        self.tokenizer = tokenizer_file(tokenizer)
        self.path, self.level, self.max_vocabulary = path, level, max_vocabulary
        self.validation_fraction, self.validation_windows = validation, validation_windows
        self.multiples = multiples_up_to(extrapolate)

    @property
    def longest(self) -> int:
        return self.length * max(self.multiples, default=1)

    @cached_property
    def file(self) -> DataFile:
        """Where the text comes from."""
        if self.path is None:
            return StandardLibrary("task.path")
        return DataFile("task.path", self.path, lambda path: read_text_column(path, "task.path").encode())

    @cached_property
    def raw(self) -> bytes:
        """The whole text as bytes; those of a file that is not UTF-8 as they are."""
        content = self.file.content
        if self.path is not None and self.path.suffix == ".parquet":
            content = read_text_column(self.path, "task.path", content).encode()
        return plain_bytes(content)

    @cached_property
    def is_utf8(self) -> bool:
        """Whether the bytes have characters."""
        try:
            self.raw.decode()
        except UnicodeDecodeError:
            return False
        return True

    @cached_property
    def text(self) -> str:
        """The whole text."""
        try:
            return self.raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"task.path: {self.path} is not UTF-8 at byte {error.start}; use level: byte") from None

    @cached_property
    def texts(self) -> tuple[str, str]:
        """The first part of the text, for training, and the last, for validation."""
        n_training = round(len(self.text) * (1 - self.validation_fraction))
        return self.text[:n_training], self.text[n_training:]

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer of words or byte pairs, learned from the training part or read from the tokenizer.json."""
        lines = self.texts[0].splitlines(keepends=True)
        return TextTokenizer(self.level, lines, self.max_vocabulary, tokenizer=self.tokenizer)

    @cached_property
    def encoded(self) -> tuple[Tensor, int]:
        """Token ids (T,) and the size of the vocabulary."""
        if self.level == "byte":
            return torch.from_numpy(numpy.frombuffer(self.raw, dtype=numpy.uint8).astype(numpy.int64)), 256
        if self.level != "char":
            return torch.cat(self.parts), self.text_tokenizer.size
        ids, characters = self.ids_and_characters
        return ids, len(characters)

    @cached_property
    def ids_and_characters(self) -> tuple[Tensor, list[str]]:
        """Token ids (T,) at the level ``char``, and the characters in the order of their ids, by code point."""
        points = code_points(self.text)
        occurs = numpy.bincount(points) > 0
        ids = numpy.cumsum(occurs) - 1  # a table is faster than sorting the text
        return torch.from_numpy(ids[points]), [chr(point) for point in numpy.flatnonzero(occurs)]

    @cached_property
    def whole_parts(self) -> tuple[Tensor, Tensor]:
        """Token ids of the first part of the text and of the last."""
        if self.level in ("char", "byte"):
            tokens, _ = self.encoded
            n_training = round(len(tokens) * (1 - self.validation_fraction))
            training, validation = tokens[:n_training], tokens[n_training:]
        else:
            training, validation = (torch.tensor(self.text_tokenizer.encode_lines(text)) for text in self.texts)
        return training, validation

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Token ids of the first part, as far as it trains, and of the last, for validation."""
        training, validation = self.whole_parts
        if self.training_tokens is not None:
            training = spread(training, self.training_tokens, PIECE * self.length)
        for part, name, needed in (
            (training, "training", 2 * self.length + 1),
            (validation, "validation", max(2 * self.length, self.longest) + 1),
        ):
            if len(part) < needed:
                raise InputError(
                    f"task: {self.path or 'the corpus'} leaves {len(part)} tokens for {name}; "
                    f"length {self.length} needs at least {needed}"
                )
        return training, validation

    @property
    def vocabulary(self) -> int:
        return self.text_tokenizer.size if self.level in ("word", "bpe") else self.encoded[1]

    def fingerprint(self) -> str:
        _ = self.parts  # raises the errors of unusable data
        return fingerprint_with_tokenizer(sha256(self.raw).hexdigest(), self.tokenizer)

    def data_files(self) -> list[DataFile]:
        return [self.file, *([] if self.tokenizer is None else [self.tokenizer])]

    @property
    def characters(self) -> list[str]:
        """The characters of the text in the order of their ids at the level ``char``."""
        return self.ids_and_characters[1]

    def encode(self, text: str) -> list[int]:
        text = plain_text(text)
        if self.level == "byte":
            return list(text.encode())
        if self.level != "char":
            return self.text_tokenizer.encode_known(text)
        ids = {character: id for id, character in enumerate(self.characters)}
        for character in text:
            if character not in ids:
                raise InputError(f"character {character!r} is not among the {len(ids)} of the text")
        return [ids[character] for character in text]

    def decode(self, ids: list[int]) -> str:
        if self.level == "byte":
            return bytes(ids).decode(errors="replace")
        if self.level != "char":
            return self.text_tokenizer.decode(ids)
        return "".join(self.characters[id] for id in ids)

    def training_windows(self, seed: int, epoch: int) -> Examples:
        """Consecutive windows of the training part, from a random start."""
        tokens = self.parts[0]
        start = int(torch.randint(self.length, (), generator=generator(seed, "windows", epoch)))
        return windows(tokens[start:], self.length)

    def validation_set(self, multiple: int) -> Examples:
        """Windows of ``multiple`` times the length; those of all multiples cover the same tokens of the text."""
        largest = max(self.multiples, default=1)
        longest_windows = windows(self.parts[1], largest * self.length)
        n_windows = len(longest_windows["tokens"])
        n_chosen = min(n_windows, max(1, self.validation_windows // largest))
        chosen = torch.linspace(0, n_windows - 1, n_chosen).long()
        return {name: tensor[chosen].view(-1, multiple * self.length) for name, tensor in longest_windows.items()}

    def validation(self) -> Examples:
        return self.validation_set(1)

    def further_validation(self) -> dict[str, Examples]:
        return {f"{multiple}x": self.validation_set(multiple) for multiple in self.multiples}

    @property
    def unit(self) -> str:
        if self.level == "byte":
            return "byte"
        if self.level != "char":
            return self.text_tokenizer.unit
        return f"character of {self.vocabulary:,} (vocabulary {fingerprint_of(self.characters)})"

    def describe(self) -> DataDescription:
        training, validation = self.parts
        limited = len(training) < len(self.whole_parts[0])
        windows = TextTask.validation_set(self, 1)["targets"]
        unknown = None if self.level in ("char", "byte") else self.text_tokenizer.unknown
        start, end = (part.decode(errors="replace") for part in (self.raw[:DESCRIBED], self.raw[-DESCRIBED:]))
        return DataDescription(
            source=self.file.path.name,
            note=self.file.note,
            fingerprint=self.fingerprint(),
            items={"char": "characters", "byte": "bytes", "word": "words", "bpe": "byte pairs"}[self.level],
            training=len(training),
            of_training=len(self.whole_parts[0]) if limited else None,
            left_out=f"training_tokens {self.training_tokens}" if limited else None,
            validation=windows.numel(),
            of_validation=len(validation),
            windows=len(windows),
            length=self.length,
            vocabulary=self.vocabulary,
            unknown=None if unknown is None else round(float((validation == unknown).float().mean()), 4),
            duplicates=count_repeated_windows(windows, training),
            first=shortened(start),
            last=shortened_end(end),
        )


def code_points(text: str) -> NDArray[numpy.uint32]:
    """The Unicode code points of a text."""
    return numpy.frombuffer(text.encode("utf-32-le"), dtype=numpy.uint32)


def spread(tokens: Tensor, n_tokens: int, piece: int) -> Tensor:
    """``n_tokens`` of the tokens (T,), or all where there are fewer, in evenly spaced pieces of at most ``piece``."""
    if n_tokens >= len(tokens):
        return tokens
    n_pieces = -(-n_tokens // piece)
    size = -(-n_tokens // n_pieces)
    starts = torch.linspace(0, len(tokens) - size, n_pieces).long().tolist()
    return torch.cat([tokens[start : start + size] for start in starts])[:n_tokens]


def windows(tokens: Tensor, length: int) -> Examples:
    """Token ids (T,) cut into inputs and targets (N, length), shifted by one token; views, no copy."""
    return {"tokens": tokens[:-1].unfold(0, length, length), "targets": tokens[1:].unfold(0, length, length)}
