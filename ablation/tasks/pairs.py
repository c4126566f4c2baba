"""Pairs of a source and a target sequence: the base of the sequence-to-sequence tasks.

Shapes: N pairs, S tokens of a source, L tokens of a target.
"""

from typing import TYPE_CHECKING

from .base import IGNORED, Examples, Task
from .examples import PAD, by_size, pad_sequences, padding_mask

if TYPE_CHECKING:
    from torchmetrics import Metric

BEGIN, END = 1, 2
N_RESERVED = 3
"""The ids below this are padding, begin and end; tokens of sequences start here."""


class PairsTask(Task):
    """Source and target have one vocabulary. The decoder reads ``begin`` and the target and predicts it and ``end``."""

    kind = "seq2seq"
    primary = "exact_match"
    better = "higher"
    begin, end = BEGIN, END

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import pair_metrics

        return pair_metrics(self.vocabulary, self.end)


def make_pairs(
    sources: list[list[int]],
    targets: list[list[int]],
    source_length: int,
    target_length: int,
    begin: int = BEGIN,
    end: int = END,
) -> Examples:
    """Examples of token ids, padded to (N, ``source_length``) and (N, ``target_length``); no source may be empty."""
    decoder_inputs = [[begin, *target] for target in targets]
    return {
        "tokens": pad_sequences(decoder_inputs, target_length, PAD),
        "padding": padding_mask(decoder_inputs, target_length),
        "source": pad_sequences(sources, source_length, PAD),
        "source_padding": padding_mask(sources, source_length),
        "targets": pad_sequences([[*target, end] for target in targets], target_length, IGNORED),
    }


def by_target_length(examples: Examples, n_buckets: int) -> dict[str, Examples]:
    """Buckets of about equally many pairs by the length of the target, named such as ``24-28``; none for one bucket."""
    return by_size(examples, (examples["targets"] != IGNORED).sum(1) - 1, n_buckets)
