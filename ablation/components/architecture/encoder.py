"""The encoder: every token attends to every other."""

from typing import Annotated

from torch import Tensor

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext
from ..pooling import Pooling
from .base import Architecture, ModelParts
from .masks import bidirectional_context
from .stack import Stack


@register("architecture", "encoder", source="Devlin et al. 2018, arXiv:1810.04805")
class Encoder(Architecture):
    """Reads a sequence in both directions: to predict masked tokens, or, pooled into one vector, its class.

    Shapes: B batch, L tokens.
    """

    tasks = ("masked_lm", "classification")
    causal = False

    def __init__(
        self,
        parts: ModelParts,
        build: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        pooling: Annotated[ComponentConfig[Pooling], Slot("pooling")] = component("pooling", "mean"),
    ):
        super().__init__(parts, build, vocabulary)
        self.stack = Stack(parts, build)
        self.add_head(parts, build, vocabulary, n_classes, pooling)

    def forward(self, tokens: Tensor, *, padding: Tensor | None = None, losses: list[Tensor] | None = None) -> Tensor:
        """Token ids (B, L) -> logits of each token (B, L, vocabulary), or of the class (B, classes).

        ``padding`` (B, L) is True at tokens. ``losses`` collects what sublayers add to the loss.
        """
        context = bidirectional_context(self.stack.position, tokens, padding, losses)
        x = self.embedding(tokens, self.stack.position, context.positions)
        return self.head(self.stack(x, context), padding)
