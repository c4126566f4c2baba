"""Pairs: one text is made from another; the base of the tasks of an encoder-decoder.

Shapes: N pairs, S tokens of a source, L tokens of a target.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import IGNORED, Examples, Task
from .io.rows import pad_sequences

if TYPE_CHECKING:
    from torchmetrics import Metric

PAD, BEGIN, END = 0, 1, 2
N_RESERVED = 3
"""Ids that no token of a text has."""


class PairsTask(Task):
    """Source and target share one vocabulary; the decoder reads the begin and the target, and writes it and the end."""

    kind = "seq2seq"
    primary = "exact_match"
    better = "higher"
    begin, end = BEGIN, END

    def metrics(self) -> "dict[str, Metric]":
        from .metrics import pair_metrics

        return pair_metrics(self.vocabulary, self.end)


def frame(
    sources: list[list[int]],
    targets: list[list[int]],
    n_source: int,
    n_target: int,
    begin: int = BEGIN,
    end: int = END,
) -> Examples:
    """Ids of sources (N, ``n_source``) and targets (N, ``n_target``), the ends padded; every source has a token."""
    begun = [[begin, *target] for target in targets]
    return {
        "tokens": pad_sequences(begun, n_target, PAD),
        "padding": padding_mask(begun, n_target),
        "source": pad_sequences(sources, n_source, PAD),
        "source_padding": padding_mask(sources, n_source),
        "targets": pad_sequences([[*target, end] for target in targets], n_target, IGNORED),
    }


def padding_mask(texts: list[list[int]], width: int) -> Tensor:
    """Where there is a token (N, ``width``), whatever its id: a tokenizer may have one for the padding's."""
    return torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]


def by_length(examples: Examples, n_buckets: int) -> dict[str, Examples]:
    """The pairs in parts of about equal size by the length of the target, such as ``24-28``; with one part nothing."""
    return by_size(examples, (examples["targets"] != IGNORED).sum(1) - 1, n_buckets)


def by_size(examples: Examples, sizes: torch.Tensor, n_buckets: int) -> dict[str, Examples]:
    """The examples in parts of about equal number by ``sizes`` (N,), such as ``24-28``; with one part nothing."""
    if n_buckets == 1:
        return {}
    bounds = sizes.sort().values[[-(-len(sizes) * part // n_buckets) - 1 for part in range(1, n_buckets + 1)]]
    buckets: dict[str, Examples] = {}
    smallest = int(sizes.min())
    for largest in sorted(set(bounds.tolist())):
        chosen = (smallest <= sizes) & (sizes <= largest)
        inside = sizes[chosen]
        buckets[span(int(inside.min()), int(inside.max()))] = select(examples, chosen)
        smallest = largest + 1
    return buckets


def span(first: int, last: int) -> str:
    """``24-28``, or ``24`` where that is all."""
    return str(first) if first == last else f"{first}-{last}"


def select(examples: Examples, chosen: torch.Tensor) -> Examples:
    """Those that ``chosen`` (N,) marks."""
    return {name: tensor[chosen] for name, tensor in examples.items()}


def held_out(n_examples: int, share: float, purpose: str) -> tuple[Sequence[int], Sequence[int]]:
    """Which examples train and which validate: ``share`` of them, drawn once and for all."""
    from ..rng import generator

    order = torch.randperm(n_examples, generator=generator(0, purpose, "held out")).tolist()
    n_validation = min(max(1, round(share * n_examples)), n_examples - 1)
    return sorted(order[n_validation:]), sorted(order[:n_validation])
