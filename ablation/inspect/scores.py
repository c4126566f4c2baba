"""What heads do: how much of a head's attention goes where a known kind of head would send it.

All are means over queries of the weight on certain keys, so between 0 and 1 where weights are; by their side stands
what attention spread evenly over the allowed keys would give, since on short or repetitive texts much is by chance.

- ``previous``: the token before; ``same``: the token itself; ``first``: the first token, where sinks are (Xiao et al.
  2023, arXiv:2309.17453).
- ``duplicate`` and ``induction``: on random tokens of which the second half repeats the first: the earlier occurrence
  of the same token, and the token after that (Elhage et al. 2021; Olsson et al. 2022, arXiv:2209.11895).
- ``entropy``: that of the weights over that of even attention, 0 at one key and 1 at all alike (Voita et al. 2019,
  arXiv:1905.09418, look at the largest weight instead).
- ``distance``: how many tokens away keys are on average; ``by_distance``, ``by_position``: the weight in ranges of it,
  and of the place of the key, each twice as wide as the one before.
- what the task's rule relates, by its name: see ``Task.relations``.

Shapes: B sequences, L queries, S keys, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..components.position.base import distance

N_RANGES = 8
"""Ranges of distances and positions: 0, 1, 2-3, 4-7, ..., and all from 64 on."""


@dataclass
class HeadScores:
    """Sums over queries for all heads of one sublayer, batch after batch."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    """By score, over queries: (H,), or (H, ranges)."""
    even: dict[str, float] = field(default_factory=dict)
    """The same of attention spread evenly."""
    counts: dict[str, float] = field(default_factory=dict)
    """By score, the queries that it is about."""

    def add(self, name: str, weights: Tensor, keys: Tensor, queries: Tensor, allowed: Tensor) -> None:
        """Weights (B, H, L, S) on ``keys`` (B, L, S), of the ``queries`` (B, L) alone, which may attend ``allowed``."""
        n_allowed = allowed.sum(-1).clamp(min=1)
        even = ((keys & allowed).sum(-1) / n_allowed).where(queries, 0.0)
        on_keys = (weights * keys.unsqueeze(1)).sum(-1).where(queries.unsqueeze(1), 0.0)
        self.add_sums(name, on_keys.double().sum((0, 2)), float(even.double().sum()), float(queries.sum()))

    def add_sums(self, name: str, sums: Tensor, even: float, count: float) -> None:
        """What was summed elsewhere over ``count`` queries."""
        sums = sums.cpu()
        self.sums[name] = self.sums[name] + sums if name in self.sums else sums
        self.even[name] = self.even.get(name, 0.0) + even
        self.counts[name] = self.counts.get(name, 0.0) + count

    def means(self, head: int) -> dict[str, float | list[float]]:
        """By score, of one head; without those that no query was about."""
        return {
            name: (sums[head] / self.counts[name]).tolist() for name, sums in self.sums.items() if self.counts[name]
        }

    def means_of_even(self) -> dict[str, float]:
        """By score, what even attention would give; without those of which that says nothing."""
        skipped = ("entropy", "by_distance", "by_position")
        return {name: self.even[name] / n for name, n in self.counts.items() if n and name not in skipped}


def add_scores(
    scores: HeadScores, weights: Tensor, mask: Tensor, queries: Tensor, relations: Mapping[str, Tensor], same_text: bool
) -> None:
    """Add a batch of weights (B, H, L, S).

    ``mask`` (B or 1, 1, L, S) is True where a query may attend to a key, ``queries`` (B, L) at those that are no
    padding; ``same_text``: whether queries and keys are the same tokens, without which no distance is known;
    ``relations`` are the task's, of these queries and keys (B, L, S).
    """
    n_batch, _, n_queries, n_keys = weights.shape
    allowed = mask[:, 0].expand(n_batch, n_queries, n_keys)
    queries = queries & (allowed.sum(-1) > 1)  # with one key there is no choice
    first = _first_key(allowed)
    scores.add("first", weights, first, queries & ~_at_first(first, same_text), allowed)
    positions = torch.arange(n_keys, device=weights.device)
    if same_text:
        far = distance(positions[:n_queries], positions)[0, 0].expand_as(allowed)
        scores.add("same", weights, far == 0, queries, allowed)
        before = (far == 1) & allowed
        scores.add("previous", weights, before, queries & before.any(-1), allowed)
        _add_moments(scores, "distance", weights, far.abs(), queries, allowed)
        _add_ranges(scores, "by_distance", weights, far.abs(), queries)
    _add_ranges(scores, "by_position", weights, positions.expand_as(allowed), queries)
    if not bool((weights < 0).any()):
        _add_entropy(scores, weights, queries, allowed)
    for name, related in relations.items():
        related = related & allowed
        scores.add(name, weights, related, queries & related.any(-1), allowed)


def add_repeated_scores(scores: HeadScores, weights: Tensor, mask: Tensor) -> None:
    """Add weights (B, H, L, L) on sequences whose second half repeats the first, with a ``mask`` as above."""
    n_batch, _, length, _ = weights.shape
    allowed = mask[:, 0].expand(n_batch, length, length)
    places = torch.arange(length, device=weights.device)
    far = distance(places, places)[0, 0].expand_as(allowed)
    second = (places >= length // 2).expand(n_batch, length)
    scores.add("duplicate", weights, far == length // 2, second, allowed)
    scores.add("induction", weights, far == length // 2 - 1, second, allowed)


def _first_key(allowed: Tensor) -> Tensor:
    """True at the first key that any query may attend to, (B, L, S): the first token that is no padding."""
    seen = allowed.any(1)
    first = seen & (seen.cumsum(-1) == 1)
    return first.unsqueeze(1).expand_as(allowed)


def _at_first(first: Tensor, same_text: bool) -> Tensor:
    """Whether a query (B, L) is the first token itself."""
    if not same_text:
        return torch.zeros(first.shape[:2], dtype=torch.bool, device=first.device)
    return first.diagonal(dim1=1, dim2=2)


def _add_moments(
    scores: HeadScores, name: str, weights: Tensor, values: Tensor, queries: Tensor, allowed: Tensor
) -> None:
    """The mean of ``values`` (B, L, S) under the weights, scaled to sum to 1."""
    total = weights.abs().sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)
    means = ((weights.abs() * values.unsqueeze(1)).sum(-1) / total).where(queries.unsqueeze(1), 0.0)
    even = ((values * allowed).sum(-1) / allowed.sum(-1).clamp(min=1)).where(queries, 0.0)
    scores.add_sums(name, means.double().sum((0, 2)), float(even.double().sum()), float(queries.sum()))


def _add_ranges(scores: HeadScores, name: str, weights: Tensor, values: Tensor, queries: Tensor) -> None:
    """The weight on the keys whose ``values`` (B, L, S) lie in each range."""
    ranges = torch.where(values > 0, values.clamp(min=1).double().log2().long() + 1, 0).clamp(max=N_RANGES - 1)
    within = torch.stack([(weights * (ranges == index).unsqueeze(1)).sum(-1) for index in range(N_RANGES)], -1).where(
        queries[:, None, :, None], 0.0
    )
    scores.add_sums(name, within.double().sum((0, 2)), 0.0, float(queries.sum()))


def _add_entropy(scores: HeadScores, weights: Tensor, queries: Tensor, allowed: Tensor) -> None:
    entropy = -torch.xlogy(weights, weights).sum(-1)
    relative = (entropy / allowed.sum(-1).clamp(min=2).log().unsqueeze(1)).where(queries.unsqueeze(1), 0.0)
    scores.add_sums("entropy", relative.double().sum((0, 2)), 0.0, float(queries.sum()))
