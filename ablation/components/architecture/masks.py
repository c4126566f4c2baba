"""The context of a pass: positions of the tokens, who may attend to whom, and what a cache adds.

Shapes: B batch, L input tokens, S those and the tokens before them in a cache.
"""

import torch
from torch import Tensor

from ..context import Cache, ForwardContext, SharedTensors, join
from ..position.base import Position


def causal_context(
    position: Position,
    tokens: Tensor,
    positions: Tensor | None,
    padding: Tensor | None,
    cache: Cache | None,
    losses: list[Tensor] | None,
) -> ForwardContext:
    """Tokens (B, L) attend to themselves and to what came before; a cache is extended by them.

    ``padding`` (B, L) is True at tokens. ``positions``, (L,) or (B, L), default to counting tokens, on from those in
    the cache.
    """
    n_before = 0 if cache is None or cache.positions is None else cache.positions.size(-1)
    padded = padding is not None or (cache is not None and cache.padding is not None)
    if padded and padding is None:
        padding = torch.ones_like(tokens, dtype=torch.bool)
    consecutive = positions is None and not padded and (cache is None or cache.consecutive)
    if positions is None:
        positions = _count(tokens, padding, cache)
    key_positions, key_padding = positions, padding
    if cache is not None:
        cache.consecutive = consecutive
        if padding is not None and cache.padding is None and n_before:
            cache.padding = torch.ones(len(tokens), n_before, dtype=torch.bool, device=tokens.device)
        key_positions = cache.positions = join(cache.positions, positions)
        if padding is not None:
            key_padding = cache.padding = join(cache.padding, padding)
    n_tokens = tokens.size(1)
    mask = torch.ones(1, 1, n_tokens, n_before + n_tokens, dtype=torch.bool, device=tokens.device)
    if n_tokens > 1:
        mask = mask.tril(n_before)
    if key_padding is not None:
        mask = mask & key_padding[:, None, None, :]
    return ForwardContext(
        position,
        positions,
        key_positions,
        mask,
        causal=n_before == 0 and not padded,
        unmasked=n_tokens == 1 and not padded,
        consecutive=consecutive,
        padding=padding,
        cache=cache,
        losses=losses,
        shared=SharedTensors(),
    )


def _count(tokens: Tensor, padding: Tensor | None, cache: Cache | None) -> Tensor:
    """Positions that follow those in the cache. Padding is not counted: it has the position of the token before it."""
    last: Tensor | int = -1
    if cache is not None and cache.positions is not None:
        last = cache.positions[..., -1:]
        if cache.padding is not None:  # a sequence of which only padding came has not begun
            last = last.where(cache.padding.any(-1, keepdim=True), -1)
    if padding is None:
        return last + torch.arange(1, tokens.size(1) + 1, device=tokens.device)
    return (last + padding.cumsum(-1)).clamp(min=0)


def bidirectional_context(
    position: Position, tokens: Tensor, padding: Tensor | None, losses: list[Tensor] | None
) -> ForwardContext:
    """Tokens (B, L) attend to all tokens; ``padding`` (B, L) is True at tokens, and nothing attends to the rest."""
    n_tokens = tokens.size(1)
    if padding is None:
        positions = torch.arange(n_tokens, device=tokens.device)
        mask = torch.ones(1, 1, 1, n_tokens, dtype=torch.bool, device=tokens.device)
    else:
        positions = (padding.cumsum(-1) - 1).clamp(min=0)
        mask = padding[:, None, None, :]
    mask = mask.expand(-1, -1, n_tokens, -1)
    return ForwardContext(
        position,
        positions,
        positions,
        mask,
        causal=False,
        unmasked=padding is None,
        consecutive=padding is None,
        padding=padding,
        losses=losses,
        shared=SharedTensors(),
    )
