"""The prefix decoder: one stack reads the source and continues with the target, as one sequence."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ...registry import REGISTRY, register
from ..base import BuildContext
from ..context import Cache, ForwardContext
from ..mixer.base import RecurrentMixer
from .base import Architecture, ModelParts
from .masks import bidirectional_context, causal_context
from .stack import Stack


@register(
    "architecture",
    "prefix_decoder",
    source="Raffel et al. 2019, arXiv:1910.10683, section 3.2.1; causal prefix: Liu et al. 2018, arXiv:1801.10198",
)
class PrefixDecoder(Architecture):
    """Writes a target token by token after its source: one stack reads both, no target token attends to a later one.

    ``prefix`` says whether the tokens of the source attend to each other in both directions or only to earlier ones;
    recurrent mixers can only do the latter. Positions count on from the source to the target, padding left out.
    Source and target may be of the model's length each, so there are twice as many positions.

    Shapes: B batch, L input tokens of the target, S source tokens, M features of the model.
    """

    tasks = ("seq2seq",)
    causal = True

    def __init__(
        self,
        parts: ModelParts,
        build: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        prefix: Literal["bidirectional", "causal"] = "bidirectional",
    ):
        super().__init__(parts, build, vocabulary)
        if prefix == "bidirectional":
            check_no_recurrence(parts, build.n_layers)
        self.prefix = prefix
        self.stack = Stack(parts, replace(build, max_length=2 * build.max_length, causal=prefix == "causal"))
        self.add_head(parts, build, vocabulary, None)
        self.max_positions = None if self.stack.position.max_positions is None else build.max_length
        """Of a target, after the longest source."""

    def forward(
        self,
        tokens: Tensor,
        *,
        source: Tensor | None = None,
        source_padding: Tensor | None = None,
        padding: Tensor | None = None,
        memory: Tensor | None = None,
        cache: Cache | None = None,
        losses: list[Tensor] | None = None,
    ) -> Tensor:
        """Source ids (B, S) and target ids (B, L) -> logits of the next target token (B, L, vocabulary).

        Paddings, (B, S) and (B, L), are True at tokens. ``memory`` is what ``encode`` returned; a cache that is not
        empty holds the source. ``losses`` collects what sublayers add to the loss.
        """
        position = self.stack.position
        if cache is not None and cache.positions is not None:
            context = causal_context(position, tokens, None, padding, cache, losses)
            x = self.embedding(tokens, position, context.positions)
        else:
            if memory is None:
                assert source is not None
                memory = self.encode(source, source_padding)
            n_source = memory.size(1)
            both = torch.cat([tokens.new_zeros(memory.shape[:2]), tokens], 1)  # of the source only the length matters
            context = causal_context(
                position, both, None, join_padding(memory, source_padding, tokens, padding), cache, losses
            )
            if self.prefix == "bidirectional":
                context = with_prefix(context, n_source)
            x = torch.cat([memory, self.embedding(tokens, position, context.positions[..., n_source:])], 1)
        return self.head(self.stack(x, context)[:, -tokens.size(1) :])

    def encode(self, source: Tensor, source_padding: Tensor | None = None) -> Tensor:
        """Source ids (B, S) -> their embeddings with positions (B, S, M), which the target follows."""
        context = bidirectional_context(self.stack.position, source, source_padding, None)
        return self.embedding(source, self.stack.position, context.positions)


def check_no_recurrence(parts: ModelParts, n_layers: int) -> None:
    """Errors: ValueError when a mixer is recurrent: no mask makes it read a source in both directions."""
    for mixer in (parts.layer(index).mixer for index in range(n_layers)):
        if issubclass(mixer.component, RecurrentMixer):
            members = REGISTRY["mixer"].items()
            allowed = ", ".join(name for name, m in members if not issubclass(m.component, RecurrentMixer))
            raise ValueError(
                f"mixer {mixer.name} reads a source from left to right only: choose architecture.prefix causal; "
                f"with bidirectional, mixer can be: {allowed}"
            )


def join_padding(
    memory: Tensor, source_padding: Tensor | None, tokens: Tensor, padding: Tensor | None
) -> Tensor | None:
    """The padding (B, S + L) of a source and its target, None where neither has any."""
    if source_padding is None and padding is None:
        return None
    before = memory.new_ones(memory.shape[:2], dtype=torch.bool) if source_padding is None else source_padding
    return torch.cat([before, torch.ones_like(tokens, dtype=torch.bool) if padding is None else padding], 1)


def with_prefix(context: ForwardContext, n_source: int) -> ForwardContext:
    """The same, but the first ``n_source`` tokens attend to each other in both directions."""
    mask = context.mask.clone()
    mask[..., :n_source, :n_source] = True if context.padding is None else context.padding[:, None, None, :n_source]
    return replace(context, mask=mask, causal=False)
