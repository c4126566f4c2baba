"""The encoder-decoder: a source is read in both directions, a target is written from it."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field
from torch import Tensor

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext
from ..context import Cache
from ..mixer import attention  # noqa: F401  registers the default of ``cross``
from ..mixer.base import Mixer
from .base import Architecture, ModelParts
from .masks import bidirectional_context, causal_context
from .stack import Stack


@register("architecture", "encoder_decoder", source="Vaswani et al. 2017, arXiv:1706.03762")
class EncoderDecoder(Architecture):
    """Writes a target token by token, every block of the decoder attending to the source through ``cross`` as well.

    ``encoder_layers`` defaults to the decoder's. Source and target share the embedding. With a cache, the source may
    be left out once ``encode`` has been called and its memory is passed.

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
        cross: Annotated[ComponentConfig[Mixer], Slot("mixer")] = component("mixer", "attention"),
        encoder_layers: Annotated[int, Field(ge=1)] | None = None,
    ):
        super().__init__(parts, build, vocabulary)
        self.encoder = Stack(parts, replace(build, n_layers=encoder_layers or build.n_layers, causal=False))
        self.decoder = Stack(parts, build, cross)
        self.add_head(parts, build, vocabulary, None)

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

        Paddings, (B, S) and (B, L), are True at tokens. ``memory`` is what ``encode`` returned. ``losses`` collects
        what sublayers add to the loss.
        """
        if memory is None:
            assert source is not None
            memory = self.encode(source, source_padding, losses)
        mask = memory.new_ones(memory.shape[:2]).bool() if source_padding is None else source_padding
        context = replace(
            causal_context(self.decoder.position, tokens, None, padding, cache, losses),
            encoder_output=memory,
            encoder_mask=mask[:, None, None, :].expand(-1, -1, tokens.size(1), -1),
        )
        return self.head(self.decoder(self.embedding(tokens, self.decoder.position, context.positions), context))

    def encode(
        self, source: Tensor, source_padding: Tensor | None = None, losses: list[Tensor] | None = None
    ) -> Tensor:
        """Source ids (B, S) -> what the decoder attends to (B, S, M)."""
        context = bidirectional_context(self.encoder.position, source, source_padding, losses)
        return self.encoder(self.embedding(source, self.encoder.position, context.positions), context)
