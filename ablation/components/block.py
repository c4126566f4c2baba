"""Block: where the norms stand around the sublayers of one layer.

Shapes: B batch, L tokens, M features of the model. In the equations f is a sublayer and + the residual.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..registry import register
from .context import Context
from .shape import Shape


class Block(nn.Module):
    """Sublayers that read the residual stream x and add to it. A member is an equation: its ``forward``."""

    norm_at_end: ClassVar[bool] = True
    """Whether the stack needs one more norm after its last block."""

    def __init__(
        self,
        shape: Shape,
        sublayers: Sequence[nn.Module],
        norm: Callable[[], nn.Module],
        residual: Callable[[], nn.Module],
    ):
        super().__init__()
        self.sublayers = nn.ModuleList(sublayers)
        self.norms = nn.ModuleList(norm() for _ in range(self.count_norms(len(sublayers))))
        self.residuals = nn.ModuleList(residual() for _ in range(self.count_residuals(len(sublayers))))
        self.dropout = nn.Dropout(shape.dropout)

    def count_norms(self, n_sublayers: int) -> int:
        return n_sublayers

    def count_residuals(self, n_sublayers: int) -> int:
        return n_sublayers

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError


@register("block", "pre_norm", source="Xiong et al. 2020, arXiv:2002.04745")
class PreNorm(Block):
    """x + f(norm(x)): the stream is never normed, as in GPT-2, GPT-3 and LLaMA."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = add(x, self.dropout(f(norm(x), context)))
        return x


@register("block", "post_norm", source="Vaswani et al. 2017, arXiv:1706.03762")
class PostNorm(Block):
    """norm(x + f(x)): the stream is normed after every sublayer, as in the original Transformer and BERT."""

    norm_at_end = False

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = norm(add(x, self.dropout(f(x, context))))
        return x


@register("block", "sandwich", source="Ding et al. 2021, arXiv:2105.13290")
class Sandwich(Block):
    """x + norm(f(norm(x))): what joins the stream is normed as well."""

    def count_norms(self, n_sublayers: int) -> int:
        return 2 * n_sublayers

    def forward(self, x: Tensor, context: Context) -> Tensor:
        norms = zip(self.norms[0::2], self.norms[1::2], strict=True)
        for f, (before, after), add in zip(self.sublayers, norms, self.residuals, strict=True):
            x = add(x, self.dropout(after(f(before(x), context))))
        return x


@register("block", "parallel", source="Chowdhery et al. 2022, arXiv:2204.02311")
class Parallel(Block):
    """x + f(norm(x)) + g(norm(x)): one norm, all sublayers side by side, as in GPT-J and PaLM."""

    def count_norms(self, n_sublayers: int) -> int:
        return 1

    def count_residuals(self, n_sublayers: int) -> int:
        return 1

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = self.norms[0](x)
        return self.residuals[0](x, self.dropout(torch.stack([f(h, context) for f in self.sublayers]).sum(0)))
