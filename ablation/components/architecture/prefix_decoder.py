"""The prefix decoder: one stack reads the source and goes on with the target, as one text."""

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...registry import REGISTRY, register
from ..base import BuildContext
from ..context import Cache, ForwardContext
from ..mixer.base import RecurrentMixer
from .masks import causal_context
from .stack import LMHeadWithTable, Stack, bidirectional_context

if TYPE_CHECKING:
    from ...model.config import ModelConfig


@register(
    "architecture",
    "prefix_decoder",
    source="Raffel et al. 2019, arXiv:1910.10683, section 3.2.1; causal prefix: Liu et al. 2018, arXiv:1801.10198",
)
class PrefixDecoder(nn.Module):
    """Writes a text token by token behind its source: one stack reads both, no target token sees a later one.

    ``prefix`` says whether the tokens of the source see each other in both directions or only what came before; what
    hands the past on in a state can only do the latter. Positions count on from the source to the target, padding
    left out. Source and target may be of the model's length each, so there are twice as many places.

    Shapes: B batch, L target tokens that come in, S source tokens, M features of the model.
    """

    tasks: ClassVar[tuple[str, ...]] = ("seq2seq",)
    causal: ClassVar[bool] = True

    def __init__(
        self,
        config: "ModelConfig",
        shape: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        prefix: Literal["bidirectional", "causal"] = "bidirectional",
    ):
        super().__init__()
        if prefix == "bidirectional":
            check_reads_both_directions(config)
        self.prefix = prefix
        self.embedding = config.embedding.build(shape, vocabulary)
        self.stack = Stack(config, replace(shape, max_length=2 * shape.max_length, causal=prefix == "causal"))
        self.readout = LMHeadWithTable(config, shape, vocabulary)
        self.max_positions = None if self.stack.position.max_positions is None else shape.max_length
        """Of a target, behind the longest source."""

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
        """Source ids (B, S) and target ids (B, L) -> scores of the next target token (B, L, vocabulary).

        Paddings, (B, S) and (B, L), are True where there is a token. ``memory`` is what ``encode`` returned; a cache
        that is not empty holds the source. ``losses`` receives what sublayers want added to the loss.
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
            text = torch.cat([tokens.new_zeros(memory.shape[:2]), tokens], 1)  # of the source only the places matter
            context = causal_context(
                position, text, None, join_padding(memory, source_padding, tokens, padding), cache, losses
            )
            if self.prefix == "bidirectional":
                context = with_prefix(context, n_source)
            x = torch.cat([memory, self.embedding(tokens, position, context.positions[..., n_source:])], 1)
        return self.readout(self.stack(x, context)[:, -tokens.size(1) :], self.embedding)

    def encode(self, source: Tensor, source_padding: Tensor | None = None) -> Tensor:
        """Source ids (B, S) -> their placed embeddings (B, S, M), which the target follows."""
        context = bidirectional_context(self.stack.position, source, source_padding, None)
        return self.embedding(source, self.stack.position, context.positions)


def check_reads_both_directions(config: "ModelConfig") -> None:
    """Errors: ValueError when a mixer hands the past on in a state, which no mask lets look ahead in a source."""
    from ...model.config import mixers  # which asks for this module

    for mixer in mixers(config):
        if issubclass(mixer.component, RecurrentMixer):
            able = ", ".join(
                n for n, member in REGISTRY["mixer"].items() if not issubclass(member.component, RecurrentMixer)
            )
            raise ValueError(
                f"mixer {mixer.name} reads a source from left to right alone: choose architecture.prefix causal; "
                f"with bidirectional, mixer can be: {able}"
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
    """The same, but the first ``n_source`` tokens see each other in both directions."""
    mask = context.mask.clone()
    seen = True if context.padding is None else context.padding[:, None, None, :n_source]
    mask[..., :n_source, :n_source] = seen
    return replace(context, mask=mask, causal=False)
