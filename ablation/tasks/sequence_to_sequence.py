"""Sequence to sequence: pairs of a source and a target in a file.

Shapes: N rows, S tokens of a source, L tokens of a target.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated

from ..errors import InputError
from ..registry import added_later, excluded_from_id, register
from .base import BatchSize, Count, Examples, Fraction, Length, count_examples
from .description import DataDescription
from .io.embedded import dates
from .io.files import DataFile, plain_text
from .io.rows import RowFiles
from .io.tables import Column, Row
from .io.tokens import Level, MaxVocabulary, TextTokenizer, check_level, fingerprint_with_tokenizer, tokenizer_file
from .named_sets import NO_SETS, NamedFiles, ScoredRows
from .pairs import BEGIN, END, N_RESERVED, PairsTask, by_target_length, make_pairs


@register("task", "sequence_to_sequence", source="Sutskever et al. 2014, arXiv:1409.3215; Vaswani et al. 2017")
class SequenceToSequence(PairsTask):
    """Sources and targets in two columns of a file or a saved dataset, or in lines that match ``pattern``.

    Files, columns and the held-out fraction are as in ``classification``. ``pattern`` is a regular expression with the
    groups ``source`` and ``target``, such as ``IN: (?P<source>.*) OUT: (?P<target>.*)``. Source and target have one
    vocabulary, learned from the training rows. Pairs whose source, or begin and target together, have more than
    ``length`` tokens are left out of training; in validation they are an error, so that every run is scored on all
    pairs. With ``buckets`` above 1 validation is also scored in that many parts by the length of the target. Without
    ``path``: dates in common formats, and in ISO 8601. With ``tokenizer``, a tokenizer.json of Hugging Face, the level
    ``bpe`` uses its tokens in a vocabulary of exactly ``max_vocabulary``; its token ``begin`` comes before a target,
    ``end`` after source and target, as in T5. ``validation_sets``, ``test_sets`` and ``score_by`` are as in
    ``classification``; with a ``pattern``, ``score_by`` is one of its groups.
    """

    def __init__(
        self,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        validation_path: Annotated[Path | None, excluded_from_id] = None,
        source_column: Column = 1,
        target_column: Column = 2,
        pattern: str | None = None,
        level: Level = "char",
        max_vocabulary: MaxVocabulary = 8192,
        length: Length = 32,
        batch_size: BatchSize = 32,
        validation: Fraction = 0.1,
        buckets: Count = 1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
        begin: str = "<pad>",
        end: str = "</s>",
        validation_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        test_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        score_by: Annotated[Column | None, added_later(None)] = None,
    ):
        super().__init__(length, batch_size)
        check_level(level, tokenizer)
        self.tokenizer, self.begin_token, self.end_token = tokenizer_file(tokenizer), begin, end
        columns, fields = (source_column, target_column), ("task.source_column", "task.target_column")
        sets = (validation_sets, test_sets, score_by)
        self.files = RowFiles(path, validation_path, columns, pattern, validation, fields, *sets)
        self.level, self.max_vocabulary, self.buckets = level, max_vocabulary, buckets

    @cached_property
    def rows(self) -> tuple[list[Row], list[Row]]:
        """Rows for training and for validation."""
        return self.files.split(dates)

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer, with its vocabulary learned from the training rows or that of the tokenizer.json."""
        texts = [text for row in self.rows[0] for text in (row.first, row.second)]
        return TextTokenizer(self.level, texts, self.max_vocabulary, N_RESERVED, self.tokenizer)

    @cached_property
    def begin(self) -> int:  # type: ignore[override]
        return BEGIN if self.tokenizer is None else self.text_tokenizer.id_of(self.begin_token, "task.begin")

    @cached_property
    def end(self) -> int:  # type: ignore[override]
        return END if self.tokenizer is None else self.text_tokenizer.id_of(self.end_token, "task.end")

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        """Examples for training and for validation."""
        pairs = [
            (source, target)
            for source, target in zip(*self.encode_rows(self.rows[0], self.located(False)), strict=True)
            if len(source) <= self.length and len(target) < self.length
        ]
        if not pairs:
            raise InputError(f"task.length: every training pair is longer than {self.length}")
        training = self.pairs([source for source, _ in pairs], [target for _, target in pairs])
        return training, self.scored(self.rows[1], self.located(True))

    @cached_property
    def named(self) -> dict[str, ScoredRows]:
        """The named sets."""
        return {
            name: ScoredRows(file.rows, self.scored(file.rows, file.location)) for name, file in self.files.sets.items()
        }

    def located(self, validates: bool) -> Callable[[Row], str]:
        """Where the rows for training or for validation are, for errors."""
        return lambda row: self.files.location(row, validates)

    def scored(self, rows: list[Row], locate: Callable[[Row], str]) -> Examples:
        """Examples of rows none of which may be left out. Errors: InputError for a pair longer than ``length``."""
        sources, targets = self.encode_rows(rows, locate)
        for row, source, target in zip(rows, sources, targets, strict=True):
            needed = max(len(source), len(target) + 1)
            if needed > self.length:
                what = f"must be at least {needed} for the pair of {locate(row)}, not {self.length}"
                raise InputError(f"task.length: {what}")
        return self.pairs(sources, targets)

    def pairs(self, sources: list[list[int]], targets: list[list[int]]) -> Examples:
        """Examples of these ids."""
        return make_pairs(sources, targets, self.length, self.length, self.begin, self.end)

    def encode_rows(self, rows: list[Row], locate: Callable[[Row], str]) -> tuple[list[list[int]], list[list[int]]]:
        """The ids of the sources and of the targets. Errors: InputError for a source of no tokens."""
        sources = self.text_tokenizer.encode([row.first for row in rows])
        targets = self.text_tokenizer.encode([row.second for row in rows])
        for row, source in zip(rows, sources, strict=True):
            if not source:
                raise InputError(f"task.source_column: {locate(row)}: the source has no tokens")
        return [[*source, *self.source_end] for source in sources], targets

    @property
    def source_end(self) -> list[int]:
        """The end token, which the encoder of a checkpoint expects after a source; empty for a learned vocabulary."""
        return [] if self.tokenizer is None else [self.end]

    def encode(self, text: str) -> list[int]:
        ids = self.text_tokenizer.encode_known(plain_text(text))
        return [*ids, *self.source_end] if ids else []

    def decode(self, ids: list[int]) -> str:
        return self.text_tokenizer.decode(ids)

    @property
    def vocabulary(self) -> int:
        return self.text_tokenizer.size

    def fingerprint(self) -> str:
        _ = self.parts, self.final_sets()  # raises the errors of unusable data
        return fingerprint_with_tokenizer(self.files.fingerprint(dates), self.tokenizer)

    def data_files(self) -> list[DataFile]:
        files: list[DataFile] = [*self.files.files, *self.files.sets.values()]
        return [*files, *([] if self.tokenizer is None else [self.tokenizer])]

    @property
    def unit(self) -> str:
        return self.text_tokenizer.unit

    def training(self, seed: int, epoch: int) -> Examples:
        return self.parts[0]

    def validation(self) -> Examples:
        return self.parts[1]

    def further_validation(self) -> dict[str, Examples]:
        sets = by_target_length(self.parts[1], self.buckets)
        return sets | {name: self.named[name].examples for name in self.files.validation_sets}

    @cached_property
    def scored_once(self) -> dict[str, Examples]:
        """The sets that are scored after the last step."""
        return self.files.scored_once(ScoredRows(self.rows[1], self.parts[1]), self.named)

    def final_sets(self) -> dict[str, Examples]:
        return self.scored_once

    def describe(self) -> DataDescription:
        n_training, n_rows = count_examples(self.parts[0]), len(self.rows[0])
        facts = self.files.describe("thirty years of dates", *self.rows)
        return DataDescription(
            **facts | {"training": n_training},
            of_training=n_rows if n_training < n_rows else None,
            left_out=f"length {self.length}",
            fingerprint=self.fingerprint(),
            items="pairs",
            vocabulary=self.vocabulary,
        )
