"""Terms that depend on how far a key lies before a query, by a table of vectors r for distances.

Where positions count the tokens one by one, q_i r(i - j) needs one product of queries and distances: row i of the
scores begins one column before row i - 1, which is a view (Dai et al. 2019, arXiv:1901.02860, appendix B). For keys the
same is done in tiles. Elsewhere the products with all rows of the table are gathered for each pair.

Shapes: B batch, L queries, S keys, H heads, D features of a head, N rows of a table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, unflatten
from torch.nn.functional import pad

from ..attention_backend import BiasOf, QueryBlock, ValuesOf, rows_of, split_into
from ..context import ForwardContext
from ..position.base import distance

Rows = Callable[[Tensor], Tensor]
"""Distances in tokens, of any shape and negative for the future -> the rows of a table that stand for them."""
TILE = 16
"""Keys that are at least multiplied at once with the distances of all of them; a quarter of the queries where more."""


@dataclass(frozen=True)
class RowsOfPass:
    """Which rows of tables stand for the distances of one pass."""

    rows: Rows
    context: ForwardContext

    @cached_property
    def of_pairs(self) -> Tensor:
        """The rows of all pairs, (B or 1, L, S)."""
        return self.rows(distance(self.context.positions, self.context.key_positions).squeeze(1))


def on_queries(q: Tensor, table: Tensor, by: RowsOfPass) -> BiasOf:
    """q_i r(i - j)^T for queries (B, H, L, D) and a table (N, D) or (H, N, D)."""
    if are_indices(by.context):
        return on_consecutive_queries(q, lambda distances: table.index_select(-2, by.rows(distances)), by.context)
    return partial(split_into, _gathered(q @ table.mT, by.of_pairs))


def on_keys(k: Tensor, table: Tensor, by: RowsOfPass) -> BiasOf:
    """k_j r(i - j)^T for keys (B, H, S, D) and a table (N, D) or (H, N, D)."""
    rows, context = by.rows, by.context
    if not are_indices(context):
        return partial(split_into, _gathered(k @ table.mT, by.of_pairs.mT).mT)
    n_before = _n_before(context)

    def biases(blocks: Sequence[QueryBlock]) -> Iterator[Tensor]:
        for block in blocks:
            tile = max(TILE, block.n_queries // 4)
            padding = -block.n_keys % tile
            keys = pad(k[..., : block.n_keys, :], (0, 0, 0, padding))
            tiles = unflatten(keys, -2, (-1, tile))  # (B, H, tiles, keys, D)
            farthest = n_before + block.first - torch.arange(0, keys.size(-2), tile, device=k.device)
            distances = farthest[:, None] + torch.arange(1 - tile, block.n_queries + 1, device=k.device)
            of_tiles = unflatten(table.index_select(-2, rows(distances.flatten())), -2, distances.shape)
            scores = _skewed(_products(tiles, of_tiles.mT), tile - 1, block.n_queries)
            yield scores.permute(0, 1, 4, 2, 3).flatten(-2)[..., : block.n_keys]

    return biases


def on_values(table: Tensor, by: RowsOfPass) -> ValuesOf:
    """sum_j w_ij r(i - j) for weights of a block and a table (N, D)."""
    if are_indices(by.context):
        return lambda weights, block: _values_of_indices(weights, table, by.rows, block, by.context)
    of_pairs = by.of_pairs.unsqueeze(1)

    def values(weights: Tensor, block: QueryBlock) -> Tensor:
        index = of_pairs[..., block.first : block.last, : block.n_keys].expand_as(weights)
        by_row = weights.new_zeros(*weights.shape[:-1], table.size(0)).scatter_add(-1, index, weights)
        return by_row @ table

    return values


def _values_of_indices(
    weights: Tensor, table: Tensor, rows: Rows, block: QueryBlock, context: ForwardContext
) -> Tensor:
    """The same for distances of indices: the weights of a query are put into columns by distance, as in ``_skewed``."""
    future = 0 if context.causal else block.n_queries - 1  # whose weights are 0 where it is masked
    wide = pad(weights, (0, future)) if future else weights
    flat = pad(wide.flatten(-2), (block.n_queries - 1, 1))
    by_distance = unflatten(flat, -1, (block.n_queries, block.n_keys + future + 1))
    farthest = _n_before(context) + block.last - 1
    distances = torch.arange(farthest, farthest - by_distance.size(-1), -1, device=weights.device)
    return by_distance @ table.index_select(0, rows(distances))


def are_indices(context: ForwardContext) -> bool:
    """Whether distances are those of indices, for queries so many that a vector for each distance is worth its cost."""
    return context.consecutive and context.positions.size(-1) > 1


def on_consecutive_queries(q: Tensor, embed: Callable[[Tensor], Tensor], context: ForwardContext) -> BiasOf:
    """q_i r(i - j)^T for queries (B, H, L, D), where distances (N,) have the vectors ``embed``, (N, D) or (H, N, D)."""
    n_queries, n_keys = q.size(-2), context.key_positions.size(-1)
    future = 0 if context.causal else n_queries - 1  # masked: half of the products would be for nothing
    distances = torch.arange(n_keys - 1, -future - 2, -1, device=q.device)  # one more, for ``_skewed``
    table = embed(distances).mT

    def biases(blocks: Sequence[QueryBlock]) -> Iterator[Tensor]:
        for block, queries in zip(blocks, rows_of(q, blocks), strict=True):
            columns = slice(n_queries - block.last, n_queries - block.first + block.n_keys)
            scores = _products(queries, table[..., columns])
            yield _skewed(scores, block.n_queries - 1, block.n_keys)

    return biases


def _products(x: Tensor, table: Tensor) -> Tensor:
    """x (B, H, ..., R, D) and a table (D, N) or (H, ..., D, N) -> (B, H, ..., R, N), as products of many rows."""
    if table.dim() == 2:
        return x @ table
    rows = x.movedim(0, -3)  # (H, ..., B, R, D)
    return unflatten(rows.flatten(-3, -2) @ table, -2, rows.shape[-3:-1]).movedim(-3, 0)


def _skewed(scores: Tensor, offset: int, n: int) -> Tensor:
    """Scores (..., R, N) -> (..., R, n), a view: column c of row r is column ``offset`` - r + c of what is given.

    The scores are a product, whose memory begins with them.
    """
    *outer, n_rows, width = scores.shape
    return scores.as_strided((*outer, n_rows, n), (*scores.stride()[:-2], width - 1, 1), offset)


def _n_before(context: ForwardContext) -> int:
    """How many keys come before the first query."""
    return context.key_positions.size(-1) - context.positions.size(-1)


def _gathered(scores: Tensor, rows: Tensor) -> Tensor:
    """Scores of every row of a table (B, H, L, N), and the rows of all pairs (B or 1, L, S) -> (B, H, L, S)."""
    return scores.gather(-1, rows.unsqueeze(1).expand(*scores.shape[:2], -1, -1))
