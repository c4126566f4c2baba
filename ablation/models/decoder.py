"""The decoder: a causal language model."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..components.context import Cache, Context
from ..components.shape import Shape
from ..registry import register

if TYPE_CHECKING:
    from .config import ModelConfig


@register(
    "architecture",
    "decoder",
    source="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
)
class Decoder(nn.Module):
    """Embed, place, pass through the blocks, read out: no token sees a later one.

    Shapes: B batch, L tokens that come in, S those and what a cache holds before them, M features of the model.
    """

    def __init__(self, config: "ModelConfig", shape: Shape, vocabulary: int):
        super().__init__()

        def norm() -> nn.Module:
            return config.norm.build(shape)

        def residual() -> nn.Module:
            return config.residual.build(shape)

        def block() -> nn.Module:
            sublayers = [config.mixer.build(shape), config.feedforward.build(shape)]
            return config.block.build(shape, sublayers, norm, residual)

        self.embedding = nn.Embedding(vocabulary, shape.d_model)
        self.position = config.position.build(shape)
        self.blocks = nn.ModuleList(block() for _ in range(shape.n_layers))
        self.norm = norm() if self.blocks[-1].norm_at_end else nn.Identity()
        self.readout = None if config.tie_embeddings else nn.Linear(shape.d_model, vocabulary, bias=False)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        padding: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Token ids (B, L) -> scores of the next token (B, L, vocabulary).

        ``padding`` (B, L) is True where there is a token. ``positions``, (L,) or (B, L), default to counting tokens,
        on from those in ``cache``, which is extended.
        """
        context = self.context(tokens, positions, padding, cache)
        x = self.position.embed(self.embedding(tokens), context.positions)
        for block in self.blocks:
            x = block(x, context)
        x = self.norm(x)
        return F.linear(x, self.embedding.weight) if self.readout is None else self.readout(x)

    def context(self, tokens: Tensor, positions: Tensor | None, padding: Tensor | None, cache: Cache | None) -> Context:
        """Who stands where, and who may look at whom."""
        n_before = 0 if cache is None or cache.positions is None else cache.positions.size(-1)
        padded = padding is not None or (cache is not None and cache.padding is not None)
        if padded and padding is None:
            padding = torch.ones_like(tokens, dtype=torch.bool)
        if positions is None:
            positions = self.count(tokens, padding, cache)
        key_positions, key_padding = positions, padding
        if cache is not None:
            if padding is not None and cache.padding is None and n_before:
                cache.padding = torch.ones(len(tokens), n_before, dtype=torch.bool, device=tokens.device)
            key_positions = cache.positions = join(cache.positions, positions)
            if padding is not None:
                key_padding = cache.padding = join(cache.padding, padding)
        n_tokens = tokens.size(1)
        n_keys = n_before + n_tokens
        mask = torch.ones(n_tokens, n_keys, dtype=torch.bool, device=tokens.device).tril(n_before)[None, None]
        if key_padding is not None:
            mask = mask & key_padding[:, None, None, :]
        causal = n_before == 0 and not padded
        return Context(self.position, positions, key_positions, mask, causal, cache)

    @staticmethod
    def count(tokens: Tensor, padding: Tensor | None, cache: Cache | None) -> Tensor:
        """Positions that follow what the cache holds; padding is not counted: it stands with the token before it."""
        last: Tensor | int = -1
        if cache is not None and cache.positions is not None:
            last = cache.positions[..., -1:]
            if cache.padding is not None:  # a text of which only padding was seen has not begun
                last = last.where(cache.padding.any(-1, keepdim=True), -1)
        if padding is None:
            return last + torch.arange(1, tokens.size(1) + 1, device=tokens.device)
        return (last + padding.cumsum(-1)).clamp(min=0)


def join(before: Tensor | None, new: Tensor) -> Tensor:
    """(..., n) and (..., m) -> (..., n + m), whichever of them has a batch axis."""
    if before is None:
        return new
    if before.dim() != new.dim():
        batch = max(before.size(0) if before.dim() == 2 else 1, new.size(0) if new.dim() == 2 else 1)
        before, new = (x if x.dim() == 2 else x.expand(batch, -1) for x in (before, new))
    return torch.cat([before, new], -1)
