"""Block: where the norms are applied around the sublayers of one layer.

Shapes: B batch, L tokens, M features of the model; N streams: (B, L, N, M), where the residual carries several.
In the equations f is a sublayer and + the residual, with dropout. Where there are several streams, f is given what the
residual reads from them, and a norm of the stream normalizes each.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .base import BuildContext, role_of
from .context import ForwardContext
from .feedforward import Feedforward
from .mixer.base import Mixer
from .residual import Residual

DropoutOn = Literal["branch", "stream"]
"""branch: x + dropout(f(x)), the usual place; stream: dropout(x) + f(x), on the residual path; of several streams on
each, before they are mixed."""


class ResidualAdd(nn.Module):
    """The residual connection of one sublayer, with dropout on its branch or on the stream."""

    def __init__(self, residual: Residual, dropout: nn.Module, dropout_on: DropoutOn):
        super().__init__()
        if dropout_on == "stream" and not residual.keeps_stream:
            raise ValueError("block.dropout_on stream: this residual has no stream to drop from; take branch")
        self.residual, self.dropout, self.dropout_on = residual, dropout, dropout_on

    def expand(self, x: Tensor) -> Tensor:
        """The stream before the first block, of embeddings (B, L, M)."""
        return self.residual.expand(x)

    def read(self, x: Tensor) -> Tensor:
        """The input (B, L, M) of a sublayer, from the stream."""
        return self.residual.read(x)

    def reduce(self, x: Tensor) -> Tensor:
        """The output (B, L, M) of the last block, from the stream."""
        return self.residual.reduce(x)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y (B, L, M) -> the stream.

        Errors: ValueError where y has another shape, which adding could hide.
        """
        if y.shape != x.shape and y.shape != (wanted := (*x.shape[:2], x.shape[-1])):
            raise ValueError(f"a sublayer returned {tuple(y.shape)} for {wanted}; it has to keep the shape")
        if not self.training:  # decoding is faster without the call of a module that does nothing
            return self.residual(x, y)
        if self.dropout_on == "stream":
            return self.residual(self.dropout(x), y)
        return self.residual(x, self.dropout(y))


class Block(nn.Module):
    """Base of the blocks: sublayers read the residual stream x and add to it; each ``forward`` is an equation."""

    norm_at_end: ClassVar[bool] = True
    """Whether the stack needs one more norm after its last block."""

    def __init__(
        self,
        build: BuildContext,
        sublayers: Sequence[nn.Module],
        norm: Callable[[], nn.Module],
        residual: Callable[[], Residual],
        *,
        dropout_on: DropoutOn = "branch",
    ):
        super().__init__()
        self.dropout = nn.Dropout(build.dropout)
        self.sublayers = nn.ModuleList()
        for index, sublayer in enumerate(sublayers):
            if not getattr(sublayer, "left_out", False):
                self.sublayers.add_module(
                    str(index), sublayer
                )  # at the path, and so with the weights, that it has among all
        if not len(self.sublayers):
            raise ValueError(f"layer {build.layer}: mixer none and feedforward none leave it empty; keep one of them")
        self.norms = nn.ModuleList(norm() for _ in range(self.count_norms(len(self.sublayers))))
        n_residuals = self.count_residuals(len(self.sublayers))
        residuals = nn.ModuleList(ResidualAdd(residual(), self.dropout, dropout_on) for _ in range(n_residuals))
        self.residuals = cast(Sequence[ResidualAdd], residuals)  # a ModuleList is typed as one of any modules

    def count_norms(self, n_sublayers: int) -> int:
        """How many norms a block of so many sublayers has."""
        return n_sublayers

    def count_residuals(self, n_sublayers: int) -> int:
        """How many residual connections a block of so many sublayers has."""
        return n_sublayers

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """The stream -> the stream: (B, L, M), or what the residual connection makes of it."""
        raise NotImplementedError

    def post_init(self) -> None:
        """Called once when all weights are initialized, for a block that scales some of them."""


@register("block", "pre_norm", source="Xiong et al. 2020, arXiv:2002.04745")
class PreNorm(Block):
    """x + f(norm(x)): the stream is never normalized, as in GPT-2, GPT-3 and LLaMA."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = add(x, f(norm(add.read(x)), context))
        return x


@register("block", "post_norm", source="Vaswani et al. 2017, arXiv:1706.03762")
class PostNorm(Block):
    """norm(x + f(x)): the stream is normalized after every sublayer, as in the original Transformer and BERT."""

    norm_at_end = False

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = norm(add(x, f(add.read(x), context)))
        return x


@register("block", "deepnorm", source="Wang et al. 2022, arXiv:2203.00555")
class DeepNorm(Block):
    """norm(alpha x + f(x)): post_norm with a weighted stream; initial feedforward, value and out maps scaled by beta.

    Where not given, alpha = (k N)^(1/4) and beta = (4 k N)^(-1/4) for N layers of k sublayers: the paper's values for
    encoders, decoders, and decoders with cross-attention. The paper's encoders under a decoder have others, which a
    block cannot know: set them. Meant for ``initialization: xavier``; queries, keys and routers keep their scale,
    except keys that serve as values (``tied_projections: key_value``).
    """

    norm_at_end = False

    def __init__(
        self,
        build: BuildContext,
        sublayers: Sequence[nn.Module],
        norm: Callable[[], nn.Module],
        residual: Callable[[], Residual],
        *,
        alpha: Annotated[float, Field(gt=0)] | None = None,
        beta: Annotated[float, Field(gt=0)] | None = None,
        **options: Any,
    ):
        super().__init__(build, sublayers, norm, residual, **options)
        depth = len(self.sublayers) * build.n_layers
        self.alpha = depth**0.25 if alpha is None else alpha
        self.beta = (4 * depth) ** -0.25 if beta is None else beta

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = norm(add(self.alpha * x, f(add.read(x), context)))
        return x

    def post_init(self) -> None:
        for linear in self.scaled_maps():
            linear.weight.mul_(self.beta)

    def scaled_maps(self) -> set[nn.Linear]:
        """All maps that a vector passes from the stream back to it; not those that only choose where to attend."""
        maps: set[nn.Module | None] = set()
        for module in self.sublayers.modules():
            if isinstance(module, Feedforward):
                maps.update(module.modules())
            elif isinstance(module, Mixer):
                maps.add(getattr(module, "value", None) or getattr(module, "key", None))  # keys may serve as values
            elif role_of(module) == "out_projection":
                maps.add(module)
        return {module for module in maps if isinstance(module, nn.Linear) and role_of(module) != "router"}


@register("block", "sandwich", source="Ding et al. 2021, arXiv:2105.13290")
class Sandwich(Block):
    """x + norm(f(norm(x))): what is added to the stream is normalized too; with ``embedding: normed`` it is Peri-LN."""

    def count_norms(self, n_sublayers: int) -> int:
        return 2 * n_sublayers

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        norms = zip(self.norms[0::2], self.norms[1::2], strict=True)
        for f, (before, after), add in zip(self.sublayers, norms, self.residuals, strict=True):
            x = add(x, after(f(before(add.read(x)), context)))
        return x


@register("block", "branch_norm", source="OLMo Team 2024, arXiv:2501.00656")
class BranchNorm(Block):
    """x + norm(f(x)): only what is added to the stream is normalized, as in OLMo 2."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = add(x, norm(f(add.read(x), context)))
        return x


@register("block", "layer_norm_scaling", source="Sun et al. 2025, arXiv:2502.05795")
class LayerNormScaling(Block):
    """x + f(norm(x) / sqrt(l)) in layer l, from 1: pre_norm in which deep layers get smaller inputs, and add less."""

    def __init__(self, build: BuildContext, *parts: Any, **options: Any):
        super().__init__(build, *parts, **options)
        self.scale = (build.layer + 1) ** -0.5

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        for f, norm, add in zip(self.sublayers, self.norms, self.residuals, strict=True):
            x = add(x, f(norm(add.read(x)) * self.scale, context))
        return x


@register(
    "block",
    "parallel",
    source="Chowdhery et al. 2022, arXiv:2204.02311; norms apart: Black et al. 2022, arXiv:2204.06745",
)
class Parallel(Block):
    """x + f(norm(x)) + g(norm(x)): all sublayers side by side on one norm, as in GPT-J and PaLM.

    ``shared_norm`` off gives every sublayer a norm of its own, as in GPT-NeoX and Pythia.
    """

    def __init__(
        self,
        build: BuildContext,
        sublayers: Sequence[nn.Module],
        norm: Callable[[], nn.Module],
        residual: Callable[[], Residual],
        *,
        shared_norm: bool = True,
        **options: Any,
    ):
        self.shared_norm = shared_norm
        super().__init__(build, sublayers, norm, residual, **options)

    def count_norms(self, n_sublayers: int) -> int:
        return 1 if self.shared_norm else n_sublayers

    def count_residuals(self, n_sublayers: int) -> int:
        return 1

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        (add,) = self.residuals
        h = add.read(x)
        normalized = [norm(h) for norm in self.norms] * (len(self.sublayers) if self.shared_norm else 1)
        y = torch.stack([f(h, context) for f, h in zip(self.sublayers, normalized, strict=True)]).sum(0)
        return add(x, y)
