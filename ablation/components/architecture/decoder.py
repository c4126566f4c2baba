"""The decoder: no token attends to a later one."""

from typing import Annotated

from torch import Tensor

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext
from ..context import Cache
from ..pooling import Pooling
from .base import Architecture, ModelParts
from .masks import causal_context
from .stack import Stack


@register(
    "architecture",
    "decoder",
    source="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
)
class Decoder(Architecture):
    """Predicts the next token of a sequence from those before it, or, from the pooled sequence, its class.

    Shapes: B batch, L input tokens.
    """

    tasks = ("causal_lm", "classification")
    causal = True

    def __init__(
        self,
        parts: ModelParts,
        build: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        pooling: Annotated[ComponentConfig[Pooling], Slot("pooling")] = component("pooling", "last"),
    ):
        super().__init__(parts, build, vocabulary)
        self.stack = Stack(parts, build)
        self.add_head(parts, build, vocabulary, n_classes, pooling)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        padding: Tensor | None = None,
        cache: Cache | None = None,
        losses: list[Tensor] | None = None,
    ) -> Tensor:
        """Token ids (B, L) -> logits of the next token (B, L, vocabulary), or of the class (B, classes).

        ``padding`` (B, L) is True at tokens. ``positions``, (L,) or (B, L), default to counting tokens, on from those
        in ``cache``, which is extended. ``losses`` collects what sublayers add to the loss.
        """
        context = causal_context(self.stack.position, tokens, positions, padding, cache, losses)
        x = self.embedding(tokens, self.stack.position, context.positions)
        return self.head(self.stack(x, context), padding)
