"""The decoder: no token sees a later one."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext, ClassHead
from ..context import Cache
from ..pooling import Pooling
from .masks import causal_context
from .stack import LMHeadWithTable, Stack

if TYPE_CHECKING:
    from ...model.config import ModelConfig


@register(
    "architecture",
    "decoder",
    source="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
)
class Decoder(nn.Module):
    """Foretells the next token of a text from those before it, or, from the pooled text, its class.

    Shapes: B batch, L tokens that come in, M features of the model.
    """

    tasks: ClassVar[tuple[str, ...]] = ("causal_lm", "classification")
    causal: ClassVar[bool] = True

    def __init__(
        self,
        config: "ModelConfig",
        shape: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        pooling: Annotated[ComponentConfig[Pooling], Slot("pooling")] = component("pooling", "last"),
    ):
        super().__init__()
        self.embedding = config.embedding.build(shape, vocabulary)
        self.stack = Stack(config, shape)
        self.pooling = None if n_classes is None else pooling.build(shape)
        self.classes = None if n_classes is None else ClassHead(shape.d_model, n_classes)
        self.readout = LMHeadWithTable(config, shape, vocabulary) if n_classes is None else None

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        padding: Tensor | None = None,
        cache: Cache | None = None,
        losses: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, L) -> scores of the next token (B, L, vocabulary), or of the text's class (B, classes).

        ``padding`` (B, L) is True where there is a token. ``positions``, (L,) or (B, L), default to counting tokens,
        on from those in ``cache``, which is extended. ``losses`` receives what sublayers want added to the loss.
        """
        context = causal_context(self.stack.position, tokens, positions, padding, cache, losses)
        x = self.stack(self.embedding(tokens, self.stack.position, context.positions), context)
        if self.readout is not None:
            return self.readout(x, self.embedding)
        assert self.pooling is not None and self.classes is not None
        present = torch.ones_like(tokens, dtype=torch.bool) if padding is None else padding
        return self.classes(self.pooling(x, present))
