"""Text: the next token of a text is to be foretold, or tokens that are hidden are to be filled in.

Shapes: N windows, L tokens of a window, T tokens of a text.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ..errors import InputError, nearest_file
from ..registry import excluded_from_id, register
from ..rng import generator
from .base import IGNORED, BatchSize, Examples, Length, Task
from .generated.base import Extrapolate
from .io.embedded import standard_library_text
from .io.saved import is_saved, read_whole
from .io.tokens import Level, MaxVocabulary, TokenizedText, with_tokenizer

if TYPE_CHECKING:
    from torchmetrics import Metric

Share = Annotated[float, Field(gt=0, lt=1)]
N_WORDS = 8192


class TextTask(Task):
    """Windows of one text file, the first part of which trains and the last validates."""

    def __init__(
        self,
        path: Path | None,
        level: Level,
        length: int,
        batch_size: int,
        validation: float,
        validation_windows: int,
        max_vocabulary: int,
        extrapolate: int,
        tokenizer: Path | None,
    ):
        super().__init__(length, batch_size)
        if tokenizer is not None and level != "bpe":
            raise InputError(f"task.tokenizer: goes with level: bpe, not with level: {level}")
        self.tokenizer = tokenizer
        self.path, self.level, self.max_vocabulary = path, level, max_vocabulary
        self.validation_share, self.validation_windows = validation, validation_windows
        self.multiples = [multiple for multiple in (2, 4, 8) if multiple <= extrapolate]

    @property
    def longest(self) -> int:
        return self.length * max(self.multiples, default=1)

    @cached_property
    def raw(self) -> bytes:
        if self.path is None:
            return standard_library_text().encode()
        if is_saved(self.path):
            return read_whole(self.path, "task.path").encode()
        try:
            if self.path.is_file():  # reading a device might never end
                return self.path.read_bytes()
            if self.path.exists():
                raise InputError(f"task.path: {self.path} is not a file; a text file is wanted")
            raise InputError(f"task.path: there is no file {self.path}{nearest_file(self.path)}")
        except OSError as error:
            raise InputError(f"task.path: {self.path} cannot be read: {error.strerror}") from None

    @cached_property
    def text(self) -> str:
        try:
            return self.raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"task.path: {self.path} is not UTF-8 at byte {error.start}; use level: byte") from None

    @cached_property
    def texts(self) -> tuple[str, str]:
        """Those for training and for validation, split by position."""
        n_training = round(len(self.text) * (1 - self.validation_share))
        return self.text[:n_training], self.text[n_training:]

    @cached_property
    def pieces(self) -> TokenizedText:
        """The vocabulary of words or byte pairs, learned from the training part alone, or the tokenizer's."""
        lines = self.texts[0].splitlines(keepends=True)
        return TokenizedText(self.level, lines, self.max_vocabulary, tokenizer=self.tokenizer)

    @cached_property
    def encoded(self) -> tuple[Tensor, int]:
        """Token ids (T,) and the size of the vocabulary."""
        if self.level == "byte":
            return torch.from_numpy(numpy.frombuffer(self.raw, dtype=numpy.uint8).astype(numpy.int64)), 256
        if self.level != "char":
            return torch.cat(self.parts), self.pieces.size
        points = code_points(self.text)
        known = numpy.bincount(points) > 0
        ids = numpy.cumsum(known) - 1  # by code point: a table is faster than sorting the text
        return torch.from_numpy(ids[points]), int(known.sum())

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Token ids for training and for validation, split by position."""
        if self.level in ("char", "byte"):
            tokens, _ = self.encoded
            n_training = round(len(tokens) * (1 - self.validation_share))
            training, validation = tokens[:n_training], tokens[n_training:]
        else:
            training, validation = (torch.tensor(self.pieces.encode_lines(text)) for text in self.texts)
        for part, what, least in (
            (training, "training", 2 * self.length + 1),
            (validation, "validation", max(2 * self.length, self.longest) + 1),
        ):
            if len(part) < least:
                raise InputError(
                    f"task: {self.path or 'the corpus'} leaves {len(part)} tokens for {what}; "
                    f"length {self.length} needs at least {least}"
                )
        return training, validation

    @property
    def vocabulary(self) -> int:
        return self.pieces.size if self.level in ("word", "bpe") else self.encoded[1]

    def fingerprint(self) -> str:
        _ = self.parts  # refuses what cannot be trained on
        return with_tokenizer(sha256(self.raw).hexdigest(), self.tokenizer)

    @cached_property
    def characters(self) -> list[str]:
        """At the level ``char``, by their id: those of the text, by code point."""
        return [chr(point) for point in numpy.unique(code_points(self.text))]

    def encode(self, text: str) -> list[int]:
        if self.level == "byte":
            return list(text.encode())
        if self.level != "char":
            return self.pieces.encode_known(text)
        ids = {character: id for id, character in enumerate(self.characters)}
        for character in text:
            if character not in ids:
                raise InputError(f"character {character!r} is not among the {len(ids)} of the text")
        return [ids[character] for character in text]

    def decode(self, ids: list[int]) -> str:
        if self.level == "byte":
            return bytes(ids).decode(errors="replace")
        if self.level != "char":
            return self.pieces.decode(ids)
        return "".join(self.characters[id] for id in ids)

    def training_windows(self, seed: int, epoch: int) -> Examples:
        tokens = self.parts[0]
        start = int(torch.randint(self.length, (), generator=generator(seed, "windows", epoch)))
        return windows(tokens[start:], self.length)

    def validation_set(self, multiple: int) -> Examples:
        """Windows of ``multiple`` times the length. Those of all multiples are cut from the same stretches of text."""
        most = max(self.multiples, default=1)
        stretches = windows(self.parts[1], most * self.length)
        n_stretches = len(stretches["tokens"])
        wanted = min(n_stretches, max(1, self.validation_windows // most))
        chosen = torch.linspace(0, n_stretches - 1, wanted).long()
        return {name: tensor[chosen].view(-1, multiple * self.length) for name, tensor in stretches.items()}

    def validation(self) -> Examples:
        return self.validation_set(1)

    def further_validation(self) -> dict[str, Examples]:
        return {f"{multiple}x": self.validation_set(multiple) for multiple in self.multiples}

    def describe(self) -> dict[str, str | int | None]:
        text = "Python's standard library" if self.path is None else self.path.name
        return {"text": text, "tokens": len(self.encoded[0]), **super().describe()}


@register(
    "task",
    "text",
    source="character level: Sutskever et al. 2011, Generating Text with Recurrent Neural Networks; "
    "bpe: Sennrich et al. 2015, arXiv:1508.07909",
)
class Text(TextTask):
    """Language modeling of one text file, or without ``path`` of Python's own standard library.

    Of a dataset that Hugging Face's `datasets` saved the text is the column `text`, a row a line.
    The first part trains, the last ``validation`` share validates: on at most ``validation_windows`` windows, spread
    evenly. Training windows tile the text from a start drawn anew each epoch. Characters that only the last part has
    are known to the vocabulary. At the levels ``word`` and ``bpe`` the vocabulary, of at most ``max_vocabulary``, is
    learned from the first part; bits per character are then loss / ln 2 * tokens / characters of the last part, which
    flatters words, since an unknown one is not spelled. With ``tokenizer``, a tokenizer.json of Hugging Face, the
    level ``bpe`` takes its pieces instead, out of a vocabulary of exactly ``max_vocabulary``. ``extrapolate`` 4
    validates on windows of 2 and 4 times the length as well, cut from the same stretches: the losses differ by how much
    is seen and not by what is read.
    """

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        level: Level = "char",
        length: Length = 128,
        batch_size: BatchSize = 32,
        validation: Share = 0.1,
        validation_windows: Annotated[int, Field(ge=1)] = 256,
        max_vocabulary: MaxVocabulary = N_WORDS,
        extrapolate: Extrapolate = 1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
    ):
        super().__init__(
            path, level, length, batch_size, validation, validation_windows, max_vocabulary, extrapolate, tokenizer
        )

    def training(self, seed: int, epoch: int) -> Examples:
        return self.training_windows(seed, epoch)

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import language_metrics

        if self.level in ("char", "byte"):
            return language_metrics(self.vocabulary, "bits_per_character" if self.level == "char" else "bits_per_byte")
        return language_metrics(self.vocabulary, "bits_per_character", len(self.parts[1]) / len(self.texts[1]))


@register("task", "masked_text", source="Devlin et al. 2018, arXiv:1810.04805")
class MaskedText(TextTask):
    """Masked language modeling of one text file, cut and split as by ``text``: hidden tokens are to be filled in.

    Of each window the share ``masked`` is chosen; of these 80 % are replaced by the mask, 10 % by a token drawn at
    random, 10 % stay, and all of them are asked for. Masks are drawn anew each epoch; those for validation are fixed.
    ``tokenizer`` is as in ``text``, and has a token of its own for what is hidden.
    """

    kind = "masked_lm"

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        level: Level = "char",
        masked: Share = 0.15,
        length: Length = 128,
        batch_size: BatchSize = 32,
        validation: Share = 0.1,
        validation_windows: Annotated[int, Field(ge=1)] = 256,
        max_vocabulary: MaxVocabulary = N_WORDS,
        extrapolate: Extrapolate = 1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
    ):
        super().__init__(
            path, level, length, batch_size, validation, validation_windows, max_vocabulary, extrapolate, tokenizer
        )
        self.masked = masked

    @property
    def vocabulary(self) -> int:
        """The mask is the tokenizer's own, else one more token behind all others."""
        return super().vocabulary + (self.tokenizer is None)

    def training(self, seed: int, epoch: int) -> Examples:
        return self.mask(self.training_windows(seed, epoch)["tokens"], generator(seed, "masks", epoch))

    def validation_set(self, multiple: int) -> Examples:
        return self.mask(super().validation_set(multiple)["tokens"], generator(0, "masks", f"validation {multiple}x"))

    def mask(self, text: Tensor, random: torch.Generator) -> Examples:
        """Windows (N, L) with holes, and what stood there; at least one in each."""
        n_masked = max(1, round(self.masked * text.size(1)))
        chosen = torch.rand(text.shape, generator=random).topk(n_masked, 1).indices
        truth, lot = text.gather(1, chosen), torch.rand(chosen.shape, generator=random)
        mask = self.vocabulary - 1 if self.tokenizer is None else self.pieces.mask
        n_tokens = super().vocabulary
        shown = torch.where(lot < 0.8, mask, torch.randint(n_tokens, chosen.shape, generator=random))
        shown = torch.where(lot < 0.9, shown, truth)
        targets = torch.full_like(text, IGNORED).scatter(1, chosen, truth)
        return {"tokens": text.scatter(1, chosen, shown), "targets": targets}

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import gap_metrics

        return gap_metrics(self.vocabulary)


def code_points(text: str) -> NDArray[numpy.uint32]:
    """The characters of a text as numbers."""
    return numpy.frombuffer(text.encode("utf-32-le"), dtype=numpy.uint32)


def windows(tokens: Tensor, length: int) -> Examples:
    """A text (T,) cut into inputs and targets (N, length), one token apart; views, no copy."""
    return {"tokens": tokens[:-1].unfold(0, length, length), "targets": tokens[1:].unfold(0, length, length)}
