"""Making tensors of examples: padding, splitting into training and validation, subsets by size.

Shapes: N examples, L tokens.
"""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from ..rng import generator
from .base import Examples

PAD = 0
"""The id of padding in tasks whose vocabulary is learned; a padding mask says where it is."""


def pad_sequences(sequences: Sequence[Sequence[int]], length: int | None, value: int) -> Tensor:
    """Sequences as (N, ``length``), padded at the end with ``value``; ``length`` None is that of the longest."""
    lengths = numpy.array([len(sequence) for sequence in sequences], dtype=numpy.int64)
    length = int(lengths.max(initial=0)) if length is None else length
    padded = numpy.full((len(sequences), length), value, dtype=numpy.int64)
    padded[numpy.arange(length) < lengths[:, None]] = [id for sequence in sequences for id in sequence]
    return torch.from_numpy(padded)


def padding_mask(sequences: Sequence[Sequence[int]], length: int) -> Tensor:
    """True where there is a token, (N, ``length``). By position, since a tokenizer may use the id of padding."""
    return torch.arange(length) < torch.tensor([len(sequence) for sequence in sequences])[:, None]


def hold_out(n_examples: int, fraction: float, purpose: str) -> tuple[Sequence[int], Sequence[int]]:
    """The indices of training and of validation examples: a random ``fraction`` validates, the same for every seed."""
    order = torch.randperm(n_examples, generator=generator(0, purpose, "held out")).tolist()
    n_validation = min(max(1, round(fraction * n_examples)), n_examples - 1)
    return sorted(order[n_validation:]), sorted(order[:n_validation])


def select(examples: Examples, mask: Tensor) -> Examples:
    """The examples where ``mask`` (N,) is True."""
    return {name: tensor[mask] for name, tensor in examples.items()}


def by_size(examples: Examples, sizes: Tensor, n_buckets: int) -> dict[str, Examples]:
    """Buckets of about equally many examples by ``sizes`` (N,), with names such as ``24-28``; none for one bucket."""
    if n_buckets == 1:
        return {}
    bounds = sizes.sort().values[[-(-len(sizes) * part // n_buckets) - 1 for part in range(1, n_buckets + 1)]]
    buckets: dict[str, Examples] = {}
    smallest = int(sizes.min())
    for largest in sorted(set(bounds.tolist())):
        mask = (smallest <= sizes) & (sizes <= largest)
        inside = sizes[mask]
        buckets[range_name(int(inside.min()), int(inside.max()))] = select(examples, mask)
        smallest = largest + 1
    return buckets


def range_name(first: int, last: int) -> str:
    """``24-28``, or ``24`` for a single size."""
    return str(first) if first == last else f"{first}-{last}"
