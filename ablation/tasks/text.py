"""Text: language modeling of a text file, by predicting the next token or by filling in masked tokens.

Shapes: N windows, L tokens of a window, T tokens of a text, V token ids in the vocabulary.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ..errors import InputError
from ..registry import added_later, excluded_from_id, register
from ..rng import generator
from .base import IGNORED, BatchSize, Examples, Extrapolate, Fraction, Length, Task, multiples_up_to
from .description import DataDescription, count_repeated_windows, shortened, shortened_end
from .fingerprint import fingerprint_of
from .io.embedded import StandardLibrary
from .io.files import DataFile, plain_bytes, plain_text
from .io.saved import read_text_column
from .io.tokens import Level, MaxVocabulary, TextTokenizer, check_level, fingerprint_with_tokenizer, tokenizer_file

if TYPE_CHECKING:
    from torchmetrics import Metric

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


@register(
    "task",
    "text",
    source="character level: Sutskever et al. 2011, Generating Text with Recurrent Neural Networks; "
    "bpe: Sennrich et al. 2015, arXiv:1508.07909",
)
class Text(TextTask):
    """Language modeling of a text file; without ``path``, of the source of Python's standard library.

    For a dataset saved by Hugging Face's `datasets` the text is its column `text`, one row per line. The first part of
    the text trains, the last fraction ``validation`` validates, on at most ``validation_windows`` evenly spaced
    windows. Training windows are consecutive, from another random start in each epoch. Characters that occur only in
    the last part are in the vocabulary too. At the levels ``word`` and ``bpe`` the vocabulary, of at most
    ``max_vocabulary`` tokens, is learned from the first part; bits per character are then loss / ln 2 * tokens /
    characters of the last part, which is too low for words, since unknown words cost only one token. With
    ``tokenizer``, a tokenizer.json of Hugging Face, the level ``bpe`` uses its tokens instead, in a vocabulary of
    exactly ``max_vocabulary``. ``extrapolate`` 4 also validates on windows of 2 and 4 times the length, over the same
    tokens, so that losses differ by the context and not by the text. With ``training_tokens`` only so many train, in
    evenly spaced pieces of 16 windows; the vocabulary is still that of the whole text.
    """

    def training(self, seed: int, epoch: int) -> Examples:
        return self.training_windows(seed, epoch)

    def measured_on(self) -> dict[str, Any]:
        """With ``text``, a fingerprint of the text that validates: where two have the same, their bits per character
        or per byte are about the same characters, whatever their tokens.

        This needs windows over the whole last part of the text (apart from its first token, and from fewer tokens at
        its end than a window has: less than 1 %), and tokens that hold all of the text: no unknown words, and no
        spaces that a split into words loses. Else ``text`` is None and ``text_missing`` says why.
        """
        reason = self.not_the_whole_text
        text = None if reason else self.raw[-len(self.parts[1]) :] if self.level == "byte" else self.texts[1]
        return {
            **super().measured_on(),
            "text": None if text is None else fingerprint_of(text),
            "text_missing": reason,
        }

    @property
    def not_the_whole_text(self) -> str | None:
        """Why bits per character are not those of the whole last part of the text; None where they are."""
        tokens, longest = self.parts[1], self.longest
        n_windows = (len(tokens) - 1) // longest
        n_scored = longest * min(n_windows, max(1, self.validation_windows // (longest // self.length)))
        if n_scored < 0.99 * len(tokens):
            needed = n_windows * longest // self.length
            what = f"{n_scored:,} of the {len(tokens):,} tokens of the last part of the text validate"
            all_chosen = needed * self.length == n_scored
            more = (
                "a shorter task.length leaves fewer over" if all_chosen else f"task.validation_windows: {needed} is all"
            )
            return f"{what}; {more}"
        if self.level in ("char", "byte"):
            return None
        unknown = self.text_tokenizer.unknown
        targets = tokens if unknown is None else tokens[1:]  # the first may be half a word, and is never predicted
        n_unknown = 0 if unknown is None else int((targets == unknown).sum())
        if n_unknown:
            return f"{n_unknown / len(targets):.1%} of the words that validate are unknown, which cost one token each"
        start, found, end = self.texts[1].rpartition(self.decode(targets.tolist()))
        if not found or end or len(start.split()) > (unknown is not None):
            return "the tokens do not hold all of the text, such as spaces between words"
        return None

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import BitsPerCharacter, language_metrics

        if self.level == "char":
            return language_metrics(self.vocabulary, "bits_per_character")
        if self.level == "byte":
            metrics = language_metrics(self.vocabulary, "bits_per_byte")
            validation = bytes(self.parts[1].tolist())
            # The first or last bytes may be part of a character; bytes that are no UTF-8 have no characters.
            characters = len(validation.decode(errors="ignore"))
            if self.is_utf8 and characters:
                metrics["bits_per_character"] = BitsPerCharacter(len(validation) / characters)
            return metrics
        return language_metrics(self.vocabulary, "bits_per_character", len(self.parts[1]) / len(self.texts[1]))


@register("task", "masked_text", source="Devlin et al. 2018, arXiv:1810.04805")
class MaskedText(TextTask):
    """Masked language modeling of a text file, which is split and cut into windows as by ``text``.

    In each window a random fraction ``masked`` of the tokens has to be predicted: 80 % of these are replaced by the
    mask token, 10 % by a random token, 10 % are left as they are. Masks change with each epoch; those for validation
    are fixed. ``tokenizer`` is as in ``text`` and must have a mask token.
    """

    kind = "masked_lm"

    def __init__(self, *, masked: Fraction = 0.15, **options: Any):
        super().__init__(**options)
        self.masked_fraction = masked

    @property
    def vocabulary(self) -> int:
        """The size of the vocabulary with the mask token, which is the last id unless the tokenizer.json has one."""
        return super().vocabulary + (self.tokenizer is None)

    def measured_on(self) -> dict[str, Any]:
        return {**super().measured_on(), "masked": self.masked_fraction}

    def training(self, seed: int, epoch: int) -> Examples:
        return self.mask(self.training_windows(seed, epoch)["tokens"], generator(seed, "masks", epoch))

    def validation_set(self, multiple: int) -> Examples:
        return self.mask(super().validation_set(multiple)["tokens"], generator(0, "masks", f"validation {multiple}x"))

    def mask(self, tokens: Tensor, random: torch.Generator) -> Examples:
        """Windows (N, L) with masked tokens as inputs, and the original ones as targets; at least one per window."""
        n_masked = max(1, round(self.masked_fraction * tokens.size(1)))
        chosen = torch.rand(tokens.shape, generator=random).topk(n_masked, 1).indices
        originals, u = tokens.gather(1, chosen), torch.rand(chosen.shape, generator=random)
        mask = self.vocabulary - 1 if self.tokenizer is None else self.text_tokenizer.mask
        n_tokens = super().vocabulary
        inputs = torch.where(u < 0.8, mask, torch.randint(n_tokens, chosen.shape, generator=random))
        inputs = torch.where(u < 0.9, inputs, originals)
        targets = torch.full_like(tokens, IGNORED).scatter(1, chosen, originals)
        return {"tokens": tokens.scatter(1, chosen, inputs), "targets": targets}

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import masked_metrics

        return masked_metrics(self.vocabulary)


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
