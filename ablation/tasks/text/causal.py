"""Causal language modeling of a text file: predicting the next token."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from ...registry import added_later, excluded_from_id, register
from ..base import Examples, SentencePairs
from ..description import DataDescription
from ..fingerprint import fingerprint_of
from ..io.files import DataFile, plain_bytes
from ..io.tables import Column
from ..minimal_pairs import further_fingerprints, pair_file, read_pairs
from ..named_sets import NO_SETS, NamedFiles, check_names, fingerprint_with_sets
from .base import TextTask, windows

if TYPE_CHECKING:
    from torchmetrics import Metric


class NamedText(NamedTuple):
    """The text of a named set."""

    ids: Tensor
    """Of its tokens, (T,)."""
    characters: int


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
    evenly spaced pieces of 16 windows; the vocabulary is still that of the whole text. ``validation_sets`` and
    ``test_sets`` are other texts by name, with scores of their own on at most ``validation_windows`` windows each: of
    validation sets in every evaluation, of test sets once, after the last step. ``minimal_pairs`` are files by name
    whose rows are a good and a bad sentence, in ``good_column`` and ``bad_column``, as in BLiMP (Warstadt et al. 2019,
    arXiv:1912.00582): ``pair_accuracy`` is how often the good one has the higher probability after ``pair_prefix``,
    overall and by ``phenomenon_column``.
    """

    def __init__(
        self,
        *,
        validation_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        test_sets: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        minimal_pairs: Annotated[NamedFiles, excluded_from_id] = NO_SETS,
        good_column: Annotated[Column, added_later("sentence_good")] = "sentence_good",
        bad_column: Annotated[Column, added_later("sentence_bad")] = "sentence_bad",
        phenomenon_column: Annotated[Column | None, added_later(None)] = None,
        pair_prefix: Annotated[str, added_later("\n")] = "\n",
        **options: Any,
    ):
        super().__init__(**options)
        check_names(validation_sets, test_sets, minimal_pairs)
        self.pair_prefix, self.by_phenomenon = pair_prefix, phenomenon_column is not None
        self.pair_files = {
            name: pair_file(f"task.minimal_pairs.{name}", path, good_column, bad_column, phenomenon_column)
            for name, path in minimal_pairs.items()
        }
        self.further_texts, self.test_texts = (
            {name: DataFile(f"task.{field}.{name}", path) for name, path in sets.items()}
            for field, sets in (("validation_sets", validation_sets), ("test_sets", test_sets))
        )

    @cached_property
    def texts_by_name(self) -> dict[str, NamedText]:
        """The texts of all named sets, as tokens."""
        return {name: self.read_named(file) for name, file in (self.further_texts | self.test_texts).items()}

    def read_named(self, file: DataFile) -> NamedText:
        """Errors: InputError for a text that is shorter than a window, or has a character that no token stands for."""
        content = plain_bytes(file.content)
        try:
            ids = list(content) if self.level == "byte" else self.ids_of_any(file.text)
        except InputError as error:
            raise InputError(f"{file.field}: {file.path}: {error}") from None
        if len(ids) <= self.length:
            raise InputError(f"{file.field}: {file.path} has {len(ids)} tokens; a window needs {self.length + 1}")
        characters = len(content.decode(errors="ignore"))
        return NamedText(torch.tensor(ids), characters)

    def ids_of_any(self, text: str) -> list[int]:
        """The ids of a text; of words that are not in the vocabulary that of unknown ones. Errors: InputError."""
        return self.encode(text) if self.level in ("char", "byte") else self.text_tokenizer.encode_lines(text)

    def named_windows(self, name: str) -> Examples:
        """At most ``validation_windows`` evenly spaced windows of a named text."""
        all_windows = windows(self.texts_by_name[name].ids, self.length)
        n_windows = len(all_windows["tokens"])
        chosen = torch.linspace(0, n_windows - 1, min(n_windows, self.validation_windows)).long()
        return {key: tensor[chosen] for key, tensor in all_windows.items()}

    def further_validation(self) -> dict[str, Examples]:
        return super().further_validation() | {name: self.named_windows(name) for name in self.further_texts}

    @cached_property
    def pairs_by_name(self) -> dict[str, SentencePairs]:
        """All minimal pairs, as tokens. Errors: InputError."""
        if not self.pair_files:
            return {}
        try:
            before = self.ids_of_any(self.pair_prefix)
        except InputError as error:
            raise InputError(
                f"task.pair_prefix: {error}; every sentence follows it, so take what the text has"
            ) from None
        return {name: read_pairs(file, self.ids_of_any, before, self.longest) for name, file in self.pair_files.items()}

    def sentence_pairs(self) -> dict[str, SentencePairs]:
        return self.pairs_by_name

    def final_sets(self) -> dict[str, Examples]:
        return {name: self.named_windows(name) for name in self.test_texts}

    def fingerprint(self) -> str:
        named = [(file, file.state.sha256) for file in (*self.further_texts.values(), *self.test_texts.values())]
        named += [(file, file.fingerprint) for file in self.pair_files.values()]
        _ = self.texts_by_name, self.pairs_by_name  # raises the errors of unusable data
        return fingerprint_with_sets(super().fingerprint(), named)

    def data_files(self) -> list[DataFile]:
        texts = (*self.further_texts.values(), *self.test_texts.values())
        return [*super().data_files(), *texts, *self.pair_files.values()]

    def describe(self) -> DataDescription:
        files = self.further_texts | self.test_texts
        sets = [
            f"{name} {self.named_windows(name)['targets'].numel():,} of {file.path.name}"
            for name, file in files.items()
        ]
        sets += [f"{name} {len(file.rows):,} pairs of {file.path.name}" for name, file in self.pair_files.items()]
        return replace(super().describe(), sets=tuple(sets))

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
        on = super().measured_on()
        return {
            **on,
            "further": on["further"] | further_fingerprints(self.pair_files),
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

    def metrics_of(self, name: str) -> "dict[str, Metric]":
        """With bits per character of a named text, of which a token may have more or fewer characters."""
        from ..metrics import BitsPerCharacter

        metrics = self.metrics()
        text = self.texts_by_name.get(name)
        if text is not None and self.level != "char" and "bits_per_character" in metrics and text.characters:
            metrics["bits_per_character"] = BitsPerCharacter(len(text.ids) / text.characters)
        return metrics

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import BitsPerCharacter, language_metrics

        if self.level == "char":
            return language_metrics(self.vocabulary, "bits_per_character")
        if self.level == "byte":
            metrics = language_metrics(self.vocabulary, "bits_per_byte")
            validation = self.raw[-len(self.parts[1]) :]
            # The first or last bytes may be part of a character; bytes that are no UTF-8 have no characters.
            characters = len(validation.decode(errors="ignore"))
            if self.is_utf8 and characters:
                metrics["bits_per_character"] = BitsPerCharacter(len(validation) / characters)
            return metrics
        return language_metrics(self.vocabulary, "bits_per_character", len(self.parts[1]) / len(self.texts[1]))
