"""Classification of texts that stand in files.

Shapes: N rows, L tokens.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch

from ..errors import InputError
from ..registry import excluded_from_id, register
from .base import BatchSize, Examples, Length, Task
from .io.embedded import lines_of_code
from .io.rows import Column, Row, pad_sequences
from .io.tokens import Level, MaxVocabulary, TokenizedText, with_tokenizer
from .pairs import PAD, padding_mask
from .sequence_to_sequence import PairsFromFile, Share

if TYPE_CHECKING:
    from torchmetrics import Metric


@register("task", "classification", source="Zhang et al. 2015, arXiv:1509.01626; Devlin et al. 2018, arXiv:1810.04805")
class Classification(Task):
    """Texts in a CSV, TSV or JSON file, or in a saved dataset, and the class of each, in two columns.

    A ``.jsonl`` file has an object a line, a ``.json`` file a list of them. A ``.parquet`` file, and a folder that
    `save_to_disk` of Hugging Face's `datasets` wrote, are read by that package; of several splits name the folder of
    one. A column is a name in the file's first line, or where the file has no such line, a number from 1. A
    ``validation`` share of the rows is held out, drawn once, unless ``validation_path`` names a file that validates. Of
    longer texts the first ``length`` tokens are read. The vocabulary is learned from the rows that train. With
    ``tokenizer``, a tokenizer.json of Hugging Face, the level ``bpe`` takes its pieces, out of a vocabulary of exactly
    ``max_vocabulary``, and what it puts around a text, such as BERT's [CLS] and [SEP], counts among the ``length``.
    Without ``path``: lines of Python's standard library without their first word, and what they do.
    """

    kind = "classification"
    primary = "accuracy"
    better = "higher"

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        validation_path: Annotated[Path | None, excluded_from_id] = None,
        text_column: Column = "text",
        class_column: Column = "class",
        level: Level = "word",
        max_vocabulary: MaxVocabulary = 8192,
        length: Length = 64,
        batch_size: BatchSize = 32,
        validation: Share = 0.1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
    ):
        super().__init__(length, batch_size)
        if tokenizer is not None and level != "bpe":
            raise InputError(f"task.tokenizer: goes with level: bpe, not with level: {level}")
        self.table = PairsFromFile(
            path,
            validation_path,
            (text_column, class_column),
            None,
            validation,
            ("task.text_column", "task.class_column"),
        )
        self.level, self.max_vocabulary, self.tokenizer = level, max_vocabulary, tokenizer

    @cached_property
    def rows(self) -> tuple[list[Row], list[Row]]:
        training, validation = self.table.split(lines_of_code())
        known = {row.second for row in training}
        for row in validation:
            if row.second not in known:
                what = f"class {row.second!r} has no row that trains"
                raise InputError(f"task.class_column: {self.table.place(row)}: {what}")
        if len(known) < 2:
            raise InputError(f"task.class_column: all rows are of the class {known.pop()!r}; at least two are wanted")
        return training, validation

    @cached_property
    def classes(self) -> list[str]:
        return sorted({row.second for row in self.rows[0]})

    @cached_property
    def pieces(self) -> TokenizedText:
        texts = [row.first for row in self.rows[0]]
        return TokenizedText(self.level, texts, self.max_vocabulary, PAD + 1, self.tokenizer)

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        training, validation = (self.examples(rows) for rows in self.rows)
        return training, validation

    def examples(self, rows: list[Row]) -> Examples:
        numbers = {name: number for number, name in enumerate(self.classes)}
        texts = self.pieces.encode_within(self.length, [row.first for row in rows])
        for row, ids in zip(rows, texts, strict=True):
            if not ids:
                raise InputError(f"task.text_column: the text of line {row.line} (class {row.second!r}) has no tokens")
        targets = torch.tensor([numbers[row.second] for row in rows])
        tokens, padding = pad_sequences(texts, self.length, PAD), padding_mask(texts, self.length)
        return {"tokens": tokens, "padding": padding, "targets": targets}

    @property
    def vocabulary(self) -> int:
        return self.pieces.size

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def fingerprint(self) -> str:
        _ = self.parts  # refuses what cannot be trained on
        return with_tokenizer(self.table.fingerprint(lines_of_code()), self.tokenizer)

    def training(self, seed: int, epoch: int) -> Examples:
        return self.parts[0]

    def validation(self) -> Examples:
        return self.parts[1]

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import class_metrics

        return class_metrics(self.n_classes)

    def describe(self) -> dict[str, str | int | None]:
        return {"classes": self.n_classes, "rows": len(self.rows[0]), **super().describe()}
