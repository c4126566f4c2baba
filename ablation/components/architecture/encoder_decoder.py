"""The encoder-decoder: one text is read in both directions, another is written from it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext
from ..context import Cache
from ..mixer.attention import Attention  # noqa: F401  the default of ``cross``
from ..mixer.base import Mixer
from .masks import causal_context
from .stack import LMHeadWithTable, Stack, bidirectional_context

if TYPE_CHECKING:
    from ...model.config import ModelConfig


@register("architecture", "encoder_decoder", source="Vaswani et al. 2017, arXiv:1706.03762")
class EncoderDecoder(nn.Module):
    """Writes a text token by token, every block looking at the source through ``cross`` as well.

    ``encoder_layers`` defaults to the decoder's. Source and target share the table of the embedding. With a cache, the
    source may be left out once ``encode`` has been called and its memory is handed in.

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
        cross: Annotated[ComponentConfig[Mixer], Slot("mixer")] = component("mixer", "attention"),
        encoder_layers: Annotated[int, Field(ge=1)] | None = None,
    ):
        super().__init__()
        self.embedding = config.embedding.build(shape, vocabulary)
        self.encoder = Stack(config, replace(shape, n_layers=encoder_layers or shape.n_layers, causal=False))
        self.decoder = Stack(config, shape, cross)
        self.readout = LMHeadWithTable(config, shape, vocabulary)

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

        Paddings, (B, S) and (B, L), are True where there is a token. ``memory`` is what ``encode`` returned.
        ``losses`` receives what sublayers want added to the loss.
        """
        if memory is None:
            assert source is not None
            memory = self.encode(source, source_padding, losses)
        context = causal_context(self.decoder.position, tokens, None, padding, cache, losses)
        context.shared["memory"] = memory
        seen = memory.new_ones(memory.shape[:2]).bool() if source_padding is None else source_padding
        context.shared["memory_mask"] = seen[:, None, None, :].expand(-1, -1, tokens.size(1), -1)
        x = self.decoder(self.embedding(tokens, self.decoder.position, context.positions), context)
        return self.readout(x, self.embedding)

    def encode(
        self, source: Tensor, source_padding: Tensor | None = None, losses: list[Tensor] | None = None
    ) -> Tensor:
        """Source ids (B, S) -> what the decoder looks at (B, S, M)."""
        context = bidirectional_context(self.encoder.position, source, source_padding, losses)
        return self.encoder(self.embedding(source, self.encoder.position, context.positions), context)
