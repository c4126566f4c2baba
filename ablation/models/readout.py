"""From the last vectors to scores of the vocabulary, with the embedding's table or one of its own."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..components.embedding import Embedding
from ..components.shape import Shape

if TYPE_CHECKING:
    from .config import ModelConfig


class Vocabulary(nn.Module):
    """The configured readout and its table: the embedding's where they are tied."""

    def __init__(self, config: "ModelConfig", shape: Shape, vocabulary: int):
        super().__init__()
        self.form = config.readout.build(shape, vocabulary)
        self.table = None if config.tie_embeddings else nn.Linear(shape.d_model, vocabulary, bias=False)

    def forward(self, x: Tensor, embedding: Embedding) -> Tensor:
        """(B, L, M) -> (B, L, vocabulary)."""
        return self.form(x, embedding.table.weight if self.table is None else self.table.weight)
