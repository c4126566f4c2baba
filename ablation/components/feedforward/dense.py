"""Dense feedforwards: every token passes through all weights.

Shapes: B batch, L tokens, M features of the model.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ...registry import register
from ..context import Context
from ..linear import OutProjection
from ..shape import Shape
from .contract import ACTIVATIONS, Activation, Feedforward


@register("feedforward", "mlp", source="Vaswani et al. 2017, arXiv:1706.03762")
class MLP(Feedforward):
    """W2 f(W1 x): up to ``expansion`` times the width, through a nonlinearity, and down again."""

    def __init__(
        self,
        shape: Shape,
        *,
        activation: Activation = "gelu",
        expansion: Annotated[float, Field(gt=0)] = 4.0,
        bias: bool = False,
    ):
        super().__init__()
        width = max(1, round(expansion * shape.d_model))
        self.up = nn.Linear(shape.d_model, width, bias)
        self.down = OutProjection(width, shape.d_model, bias)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(x))))


@register("feedforward", "glu", source="Shazeer 2020, arXiv:2002.05202")
class GLU(Feedforward):
    """W3 (f(W1 x) * W2 x): one half gates the other (silu: SwiGLU, gelu: GEGLU, relu: ReGLU, identity: bilinear).

    Three maps at 8/3 of the width, rounded to a multiple of 8, hold the parameters of two maps at 4.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        activation: Activation = "silu",
        expansion: Annotated[float, Field(gt=0)] = 8 / 3,
        bias: bool = False,
    ):
        super().__init__()
        width = max(8, 8 * round(expansion * shape.d_model / 8))
        self.gate = nn.Linear(shape.d_model, width, bias)
        self.up = nn.Linear(shape.d_model, width, bias)
        self.down = OutProjection(width, shape.d_model, bias)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))
