"""Text: the next character or byte of a text is to be foretold."""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy
import torch
from pydantic import Field
from torch import Tensor

from ..errors import InputError, nearest_file
from ..randomness import generator
from ..registry import Elsewhere, register
from .corpus import standard_library_text
from .task import BatchSize, Examples, Length, Task

if TYPE_CHECKING:
    from torchmetrics import Metric


@register(
    "data",
    "text",
    source="character level: Sutskever et al. 2011, Generating Text with Recurrent Neural Networks",
)
class Text(Task):
    """Language modelling of one text file, or without ``path`` of Python's own standard library.

    The first part trains, the last ``validation`` share validates: on at most ``validation_windows`` windows, spread
    evenly. Training windows tile the text from a start drawn anew each epoch. Characters that only the last part has
    are known to the vocabulary.
    """

    def __init__(
        self,
        *,
        path: Annotated[Path | None, Elsewhere()] = None,
        level: Literal["char", "byte"] = "char",
        length: Length = 128,
        batch_size: BatchSize = 32,
        validation: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        validation_windows: Annotated[int, Field(ge=1)] = 256,
    ):
        super().__init__(length, batch_size)
        self.path, self.level = path, level
        self.validation_share, self.validation_windows = validation, validation_windows

    @cached_property
    def raw(self) -> bytes:
        if self.path is None:
            return standard_library_text().encode()
        try:
            if self.path.is_file():  # reading a device might never end
                return self.path.read_bytes()
            if self.path.exists():
                raise InputError(f"data.path: {self.path} is not a file; a text file is wanted")
            raise InputError(f"data.path: there is no file {self.path}{nearest_file(self.path)}")
        except OSError as error:
            raise InputError(f"data.path: {self.path} cannot be read: {error.strerror}") from None

    @cached_property
    def encoded(self) -> tuple[Tensor, int]:
        """Token ids (all tokens,) and the size of the vocabulary."""
        if self.level == "byte":
            return torch.from_numpy(numpy.frombuffer(self.raw, dtype=numpy.uint8).astype(numpy.int64)), 256
        try:
            text = self.raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"data.path: {self.path} is not UTF-8 at byte {error.start}; use level: byte") from None
        points = numpy.frombuffer(text.encode("utf-32-le"), dtype=numpy.uint32)
        known = numpy.bincount(points) > 0
        ids = numpy.cumsum(known) - 1  # by code point: a table is faster than sorting the text
        return torch.from_numpy(ids[points]), int(known.sum())

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Token ids for training and for validation, split by position."""
        tokens, _ = self.encoded
        n_training = round(len(tokens) * (1 - self.validation_share))
        training, validation = tokens[:n_training], tokens[n_training:]
        for part, what in ((training, "training"), (validation, "validation")):
            if len(part) < 2 * self.length + 1:
                raise InputError(
                    f"data: {self.path or 'the corpus'} leaves {len(part)} tokens for {what}; "
                    f"length {self.length} needs at least {2 * self.length + 1}"
                )
        return training, validation

    @property
    def vocabulary(self) -> int:
        return self.encoded[1]

    def fingerprint(self) -> str:
        return sha256(self.raw).hexdigest()

    def training(self, seed: int, epoch: int) -> Examples:
        tokens = self.parts[0]
        start = int(torch.randint(self.length, (), generator=generator(seed, "windows", epoch)))
        return windows(tokens[start:], self.length)

    def validation(self) -> Examples:
        examples = windows(self.parts[1], self.length)
        n_windows = len(examples["tokens"])
        chosen = torch.linspace(0, n_windows - 1, min(n_windows, self.validation_windows)).long()
        return {name: tensor[chosen] for name, tensor in examples.items()}

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import language_metrics

        return language_metrics(self.vocabulary, "bits_per_character" if self.level == "char" else "bits_per_byte")

    def describe(self) -> dict[str, str | int | None]:
        text = "Python's standard library" if self.path is None else self.path.name
        return {"text": text, "tokens": len(self.encoded[0]), **super().describe()}


def windows(tokens: Tensor, length: int) -> Examples:
    """A text (T,) cut into inputs and targets (N, length), one token apart; views, no copy."""
    return {"tokens": tokens[:-1].unfold(0, length, length), "targets": tokens[1:].unfold(0, length, length)}
