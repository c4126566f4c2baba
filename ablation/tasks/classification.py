"""Classification of texts in a file.

Shapes: N rows, L tokens.
"""

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch

from ..errors import InputError
from ..registry import added_later, excluded_from_id, register
from .base import BatchSize, Examples, Fraction, Length, Task
from .description import LISTED, DataDescription
from .examples import PAD, pad_sequences, padding_mask
from .fingerprint import fingerprint_of
from .io.embedded import StandardLibrary, lines_of_code
from .io.files import DataFile
from .io.labels import ClassNames, check_class_names
from .io.rows import RowFile, RowFiles
from .io.tables import Column, Row
from .io.tokens import Level, MaxVocabulary, TextTokenizer, check_level, fingerprint_with_tokenizer, tokenizer_file
from .named_sets import NO_SETS, NamedFiles, ScoredRows

if TYPE_CHECKING:
    from torchmetrics import Metric


@register("task", "classification", source="Zhang et al. 2015, arXiv:1509.01626; Devlin et al. 2018, arXiv:1810.04805")
class Classification(Task):
    """Texts and their classes in two columns of a CSV, TSV or JSON file or of a saved dataset.

    A ``.jsonl`` file has one object per line, a ``.json`` file a list of objects. ``.parquet`` files, and folders that
    `save_to_disk` of Hugging Face's `datasets` wrote, are read by that package; if there are several splits, give the
    folder of one. A column is a name from the first line of the file, or a number from 1 if the file has no names. A
    random fraction ``validation`` of the rows is held out, unless ``validation_path`` is a file for validation. Texts
    are cut after ``length`` tokens. The vocabulary is learned from the training rows. With ``tokenizer``, a
    tokenizer.json of Hugging Face, the level ``bpe`` uses its tokens instead, in a vocabulary of exactly
    ``max_vocabulary``; its special tokens, such as BERT's [CLS] and [SEP], count towards ``length``. Without ``path``
    the texts are lines of Python's standard library without their first word, and the classes what that word does.
    Classes whose names differ only by blanks, letter case, Unicode normalization or letters that look alike are an
    error, as are an empty name and -1, the mark of rows without a label, unless ``class_names`` is ``as_written``.
    ``validation_sets`` and ``test_sets`` are further files by name, with scores of their own: of validation sets in
    every evaluation, of test sets once, after the last step. With ``score_by``, a column, the rows of each of its
    values in the files that validate or test are scored as well, after the last step.
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
        validation: Fraction = 0.1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
        class_names: Annotated[ClassNames, excluded_from_id] = "distinct",
        validation_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        test_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        score_by: Annotated[Column | None, added_later(None)] = None,
    ):
        super().__init__(length, batch_size)
        check_level(level, tokenizer)
        columns, fields = (text_column, class_column), ("task.text_column", "task.class_column")
        sets = (validation_sets, test_sets, score_by)
        self.files = RowFiles(path, validation_path, columns, None, validation, fields, *sets)
        self.class_names = class_names
        self.level, self.max_vocabulary, self.tokenizer = level, max_vocabulary, tokenizer_file(tokenizer)

    @cached_property
    def rows(self) -> tuple[list[Row], list[Row]]:
        """Rows for training and for validation."""
        training, validation = self.files.split(lines_of_code)
        classes = {row.second for row in training}
        if self.class_names == "distinct":
            check_class_names(self.first_rows(training, validation), "task.class_column")
        self.check_classes(validation, classes, lambda row: self.files.location(row, validates=True))
        if len(classes) < 2:
            raise InputError(f"task.class_column: all rows have the class {classes.pop()!r}; expected at least two")
        return training, validation

    def check_classes(self, rows: list[Row], classes: Collection[str], locate: Callable[[Row], str]) -> None:
        """Errors: InputError for a row of a class that no training row has."""
        for row in rows:
            if row.second not in classes:
                raise InputError(f"task.class_column: {locate(row)}: class {row.second!r} has no training row")

    def first_rows(self, training: list[Row], validation: list[Row]) -> dict[str, str]:
        """The classes with `file:line` of the first row of each, those of training first."""
        first: dict[str, str] = {}
        for rows, validates in ((training, False), (validation, True)):
            for row in rows:
                if row.second not in first:
                    first[row.second] = self.files.location(row, validates)
        return first

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes in the order of their numbers."""
        return sorted({row.second for row in self.rows[0]})

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer, with its vocabulary learned from the training rows or that of the tokenizer.json."""
        texts = [row.first for row in self.rows[0]]
        return TextTokenizer(self.level, texts, self.max_vocabulary, PAD + 1, self.tokenizer)

    @cached_property
    def encoded(self) -> list[tuple[list[list[int]], int]]:
        """The ids of the texts for training and for validation, and how many texts were cut."""
        return [self.text_tokenizer.encode_truncated([row.first for row in rows], self.length) for rows in self.rows]

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        """Examples for training and for validation."""
        training, validation = (
            self.examples(rows, self.encoded[validates][0], lambda row, v=validates: self.files.location(row, v))  # type: ignore[misc]
            for validates, rows in enumerate(self.rows)
        )
        return training, validation

    @cached_property
    def named(self) -> dict[str, ScoredRows]:
        """The named sets."""
        return {name: ScoredRows(file.rows, self.of_file(file)) for name, file in self.files.sets.items()}

    def of_file(self, file: RowFile) -> Examples:
        """The examples of a named set."""
        self.check_classes(file.rows, self.classes, file.location)
        sequences, _ = self.text_tokenizer.encode_truncated([row.first for row in file.rows], self.length)
        return self.examples(file.rows, sequences, file.location)

    def examples(self, rows: list[Row], sequences: list[list[int]], locate: Callable[[Row], str]) -> Examples:
        """Token ids (N, L), their padding mask, and classes (N,) of ``rows`` with these ``sequences`` of ids.

        Errors: InputError for a text of no tokens.
        """
        numbers = {name: number for number, name in enumerate(self.classes)}
        for row, ids in zip(rows, sequences, strict=True):
            if not ids:
                raise InputError(f"task.text_column: {locate(row)}: the text (class {row.second!r}) has no tokens")
        targets = torch.tensor([numbers[row.second] for row in rows])
        tokens, padding = pad_sequences(sequences, self.length, PAD), padding_mask(sequences, self.length)
        return {"tokens": tokens, "padding": padding, "targets": targets}

    @property
    def vocabulary(self) -> int:
        return self.text_tokenizer.size

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def fingerprint(self) -> str:
        _ = self.parts, self.final_sets()  # raises the errors of unusable data
        return fingerprint_with_tokenizer(self.files.fingerprint(lines_of_code), self.tokenizer)

    def data_files(self) -> list[DataFile]:
        files: list[DataFile] = [*self.files.files] or [StandardLibrary("task.path")]
        return [*files, *self.files.sets.values(), *([] if self.tokenizer is None else [self.tokenizer])]

    def training(self, seed: int, epoch: int) -> Examples:
        return self.parts[0]

    def validation(self) -> Examples:
        return self.parts[1]

    def further_validation(self) -> dict[str, Examples]:
        return {name: self.named[name].examples for name in self.files.validation_sets}

    @cached_property
    def scored_once(self) -> dict[str, Examples]:
        """The sets that are scored after the last step."""
        return self.files.scored_once(ScoredRows(self.rows[1], self.parts[1]), self.named)

    def final_sets(self) -> dict[str, Examples]:
        return self.scored_once

    def measured_on(self) -> dict[str, Any]:
        """The rows that validate, as they are in the file: which class each has is the same question at all levels."""
        rows = [(row.first, row.second) for row in self.rows[1]]
        return {**super().measured_on(), "validation": fingerprint_of(rows)}

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import class_metrics

        return class_metrics(self.n_classes)

    def describe(self) -> DataDescription:
        training, validation = self.rows
        return DataDescription(
            **self.files.describe(f"lines of the {self.data_files()[0].path.name}", training, validation),
            note=self.data_files()[0].note,
            fingerprint=self.fingerprint(),
            items="rows",
            length=self.length,
            cut_training=self.encoded[0][1],
            cut_validation=self.encoded[1][1],
            vocabulary=self.vocabulary,
            n_classes=self.n_classes,
            classes=tuple(self.classes[:LISTED]),
        )
