"""Tables: rows of two columns that stand in files, and translation of one into the other.

Shapes: N rows, S and L tokens.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..errors import InputError
from ..registry import excluded_from_id, register
from .base import BatchSize, Examples, Length
from .generated.base import Count
from .io.embedded import dates
from .io.rows import Column, Row, contents, read_rows
from .io.tokens import Level, MaxVocabulary, TokenizedText, with_tokenizer
from .pairs import BEGIN, END, N_RESERVED, PairsTask, by_length, frame, held_out

Share = Annotated[float, Field(gt=0, lt=1)]


class PairsFromFile:
    """The rows of one or two files: the second validates, or else a share of the first that is drawn once and for all.

    Errors: InputError when the files cannot be read; from whatever needs them, not from the constructor.
    """

    def __init__(
        self,
        path: Path | None,
        validation_path: Path | None,
        columns: tuple[Column, Column],
        pattern: str | None,
        share: float,
        fields: tuple[str, str],
    ):
        if path is None and validation_path is not None:
            raise InputError("task.validation_path: task.path is wanted as well")
        for column, field in zip(columns, fields, strict=True):
            if isinstance(column, int) and column < 1:
                raise InputError(f"{field}: columns are counted from 1, {column} is none")
        self.files = {} if path is None else {"task.path": path}
        if path is not None and validation_path is not None:
            self.files["task.validation_path"] = validation_path
        self.columns, self.pattern, self.share, self.fields = columns, pattern, share, fields

    def fingerprint(self, built_in: list[Row]) -> str:
        """Of the contents of the files, or of the rows that stand in for them."""
        if not self.files:
            return sha256(repr(built_in).encode()).hexdigest()
        prints = [
            sha256(contents(file, self.columns, self.pattern, (field, *self.fields))).hexdigest()
            for field, file in self.files.items()
        ]
        return prints[0] if len(prints) == 1 else sha256("".join(prints).encode()).hexdigest()

    def split(self, built_in: list[Row]) -> tuple[list[Row], list[Row]]:
        """Rows for training and for validation."""
        parts = [
            read_rows(file, self.columns, self.pattern, (field, *self.fields)) for field, file in self.files.items()
        ] or [built_in]
        if len(parts) == 2:
            return parts[0], parts[1]
        if len(parts[0]) < 2:
            raise InputError(f"task.path: {self.files['task.path']} has one row; training and validation need one each")
        training, validation = held_out(len(parts[0]), self.share, "rows")
        return [parts[0][index] for index in training], [parts[0][index] for index in validation]

    def place(self, row: Row) -> str:
        """The file that rows for validation come from, and the line."""
        *_, file = self.files.values()
        return f"{file}:{row.line}"


@register("task", "sequence_to_sequence", source="Sutskever et al. 2014, arXiv:1409.3215; Vaswani et al. 2017")
class SequenceToSequence(PairsTask):
    """Sources and targets in two columns of a table or a saved dataset, or of lines that ``pattern`` matches.

    Columns, files and the share held out are as in ``classification``. ``pattern`` is a regular expression with the
    groups ``source`` and ``target``, such as ``IN: (?P<source>.*) OUT: (?P<target>.*)``. Both share one vocabulary,
    learned from the rows that train. Pairs of which the source or the begin and the target are more than ``length``
    tokens do not train; in validation they are an error, so that nothing is scored on less. With ``buckets`` above 1
    validation is scored in so many parts by the length of the target as well. Without ``path``: dates as people write
    them, and as ISO 8601 does. With ``tokenizer``, a tokenizer.json of Hugging Face, the level ``bpe`` takes its pieces
    out of a vocabulary of exactly ``max_vocabulary``; its token ``begin`` stands before a target, ``end`` behind source
    and target, as in T5.
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
        validation: Share = 0.1,
        buckets: Count = 1,
        tokenizer: Annotated[Path | None, excluded_from_id] = None,
        begin: str = "<pad>",
        end: str = "</s>",
    ):
        super().__init__(length, batch_size)
        if tokenizer is not None and level != "bpe":
            raise InputError(f"task.tokenizer: goes with level: bpe, not with level: {level}")
        self.tokenizer, self.framing = tokenizer, {"begin": begin, "end": end}
        fields = ("task.source_column", "task.target_column")
        columns = (source_column, target_column)
        self.table = PairsFromFile(path, validation_path, columns, pattern, validation, fields)
        self.level, self.max_vocabulary, self.buckets = level, max_vocabulary, buckets

    @cached_property
    def rows(self) -> tuple[list[Row], list[Row]]:
        return self.table.split(dates())

    @cached_property
    def pieces(self) -> TokenizedText:
        texts = [text for row in self.rows[0] for text in (row.first, row.second)]
        return TokenizedText(self.level, texts, self.max_vocabulary, N_RESERVED, self.tokenizer)

    @cached_property
    def begin(self) -> int:  # type: ignore[override]
        return BEGIN if self.tokenizer is None else self.framed_by("begin")

    @cached_property
    def end(self) -> int:  # type: ignore[override]
        return END if self.tokenizer is None else self.framed_by("end")

    def framed_by(self, what: str) -> int:
        """The tokenizer's token that ``begin`` or ``end`` names."""
        return self.pieces.id_of(self.framing[what], f"task.{what}")

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        training, validation = self.rows
        kept, (sources, targets) = [], self.sides(training)
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            if len(source) <= self.length and len(target) < self.length:
                kept.append(index)
        if not kept:
            raise InputError(f"task.length: {self.length} is less than every pair that trains")
        further_sources, further_targets = self.sides(validation)
        for row, source, target in zip(validation, further_sources, further_targets, strict=True):
            longest = max(len(source), len(target) + 1)
            if longest > self.length:
                where = self.table.place(row) if self.table.files else f"row {row.line}"
                raise InputError(f"task.length: {where} needs at least {longest} to be scored, not {self.length}")
        sizes = (self.length, self.length, self.begin, self.end)
        return (
            frame([sources[index] for index in kept], [targets[index] for index in kept], *sizes),
            frame(further_sources, further_targets, *sizes),
        )

    def sides(self, rows: list[Row]) -> tuple[list[list[int]], list[list[int]]]:
        sources = self.pieces.encode([row.first for row in rows])
        targets = self.pieces.encode([row.second for row in rows])
        for row, source in zip(rows, sources, strict=True):
            if not source:
                raise InputError(f"task.source_column: the source of line {row.line} has no tokens")
        return [[*source, *self.behind_source] for source in sources], targets

    @property
    def behind_source(self) -> list[int]:
        """What a checkpoint's encoder expects behind a text; nothing where the vocabulary is learned."""
        return [] if self.tokenizer is None else [self.end]

    def encode(self, text: str) -> list[int]:
        ids = self.pieces.encode_known(text)
        return [*ids, *self.behind_source] if ids else []

    def decode(self, ids: list[int]) -> str:
        return self.pieces.decode(ids)

    @property
    def vocabulary(self) -> int:
        return self.pieces.size

    def fingerprint(self) -> str:
        _ = self.parts  # refuses what cannot be trained on
        return with_tokenizer(self.table.fingerprint(dates()), self.tokenizer)

    def training(self, seed: int, epoch: int) -> Examples:
        return self.parts[0]

    def validation(self) -> Examples:
        return self.parts[1]

    def further_validation(self) -> dict[str, Examples]:
        return by_length(self.parts[1], self.buckets)

    def describe(self) -> dict[str, str | int | None]:
        return {"rows": len(self.rows[0]), **super().describe()}
