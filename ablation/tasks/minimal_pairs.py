"""Minimal pairs: two sentences that differ in little, of which the first is acceptable and the second is not.

A language model has a pair right when it gives the good sentence the higher probability, which is the whole evaluation
of BLiMP (Warstadt et al. 2019, arXiv:1912.00582): no training, no threshold, chance is one half.

Shapes: N pairs, L tokens of the longest sentence with what comes before it, V token ids in the vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import InputError
from .base import IGNORED, Examples, SentencePairs, parts_of_pairs
from .examples import PAD, pad_sequences
from .io.rows import RowFile
from .io.tables import Column, Columns
from .named_sets import value_name

PAIR_ACCURACY = "pair_accuracy"
"""The measure: the fraction of pairs that are right."""


def pair_file(field: str, path: Path, good: Column, bad: Column, phenomenon: Column | None) -> RowFile:
    """A file of pairs: a table of rows (good, bad), and with ``phenomenon`` what each is about."""
    columns: Columns = (good, bad) if phenomenon is None else (good, bad, phenomenon)
    fields = (field, "task.good_column", "task.bad_column", "task.phenomenon_column")
    return RowFile(path, columns, None, fields[: len(columns) + 1])


def read_pairs(file: RowFile, encode: Callable[[str], list[int]], before: list[int], longest: int) -> SentencePairs:
    """The pairs of a file. ``before`` are the ids that each sentence follows, ``longest`` what a model is built for.

    Errors: InputError with the line of a sentence that is too long, empty, or has what no token stands for.
    """
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    for row in file.rows:
        for side, sentence in zip(sides, (row.first, row.second), strict=True):
            try:
                ids = [*before, *encode(sentence)]
            except InputError as error:
                raise InputError(f"{file.field}: {file.location(row)}: {error}") from None
            if len(ids) < max(2, len(before) + 1):
                raise InputError(f"{file.field}: {file.location(row)}: a sentence without a token to predict")
            if len(ids) - 1 > longest:
                what = f"a sentence of {len(ids) - 1} tokens, the model takes {longest}; raise task.length"
                raise InputError(f"{file.field}: {file.location(row)}: {what}")
            side.append(ids)
        if row.first == row.second:
            raise InputError(f"{file.field}: {file.location(row)}: both sentences are the same")
    good, bad = (_examples(side, len(before)) for side in sides)
    return SentencePairs(good, bad, tuple(value_name(row.group) for row in file.rows))


def _examples(sentences: Sequence[list[int]], n_before: int) -> Examples:
    ignored = [IGNORED] * max(0, n_before - 1)
    return {
        "tokens": pad_sequences([ids[:-1] for ids in sentences], None, PAD),
        "targets": pad_sequences([[*ignored, *ids[1 + len(ignored) :]] for ids in sentences], None, IGNORED),
    }


def log_probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(sentence) = sum over its tokens of log p(token | tokens before it), in nats: (B, L, V), (B, L) -> (B,)."""
    losses = cross_entropy(logits.double().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return -losses.sum(1)


def pair_accuracies(good: Tensor, bad: Tensor, phenomena: Sequence[str]) -> dict[str, float]:
    """The fraction of pairs whose good sentence is likelier, by ``""`` of all and ``:PHENOMENON`` of each phenomenon.

    ``good`` and ``bad`` are log probabilities (N,); equal ones are no success.
    """
    right = (good > bad).double()
    of_part = {
        part: torch.tensor([part in ("", f":{each}") for each in phenomena]) for part in parts_of_pairs(phenomena)
    }
    return {part: float(right[chosen].mean()) for part, chosen in of_part.items()}


def further_fingerprints(pairs: Mapping[str, RowFile]) -> dict[str, str]:
    """By the name of each set of pairs, and of each phenomenon in it, a fingerprint of its file."""
    found: dict[str, str] = {}
    for name, file in pairs.items():
        parts = parts_of_pairs(value_name(row.group) for row in file.rows)
        found |= dict.fromkeys([f"{name}{part}" for part in parts], file.fingerprint[:16])
    return found
