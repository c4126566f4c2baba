"""The encoder: every token sees every other."""

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, component, register
from ..base import BuildContext, ClassHead
from ..pooling import Pooling
from .stack import LMHeadWithTable, Stack, bidirectional_context

if TYPE_CHECKING:
    from ...model.config import ModelConfig


@register("architecture", "encoder", source="Devlin et al. 2018, arXiv:1810.04805")
class Encoder(nn.Module):
    """Reads a text in both directions: to fill its gaps, or, pooled into one vector, to classify it.

    Shapes: B batch, L tokens, M features of the model.
    """

    tasks: ClassVar[tuple[str, ...]] = ("masked_lm", "classification")
    causal: ClassVar[bool] = False

    def __init__(
        self,
        config: "ModelConfig",
        shape: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        *,
        pooling: Annotated[ComponentConfig[Pooling], Slot("pooling")] = component("pooling", "mean"),
    ):
        super().__init__()
        self.embedding = config.embedding.build(shape, vocabulary)
        self.stack = Stack(config, shape)
        self.pooling = None if n_classes is None else pooling.build(shape)
        self.classes = None if n_classes is None else ClassHead(shape.d_model, n_classes)
        self.readout = LMHeadWithTable(config, shape, vocabulary) if n_classes is None else None

    def forward(self, tokens: Tensor, *, padding: Tensor | None = None, losses: list[Tensor] | None = None) -> Tensor:
        """Token ids (B, L) -> scores of each token's identity (B, L, vocabulary), or of the text's class (B, classes).

        ``padding`` (B, L) is True where there is a token. ``losses`` receives what sublayers want added to the loss.
        """
        context = bidirectional_context(self.stack.position, tokens, padding, losses)
        x = self.stack(self.embedding(tokens, self.stack.position, context.positions), context)
        if self.readout is not None:
            return self.readout(x, self.embedding)
        assert self.pooling is not None and self.classes is not None
        present = torch.ones_like(tokens, dtype=torch.bool) if padding is None else padding
        return self.classes(self.pooling(x, present))
