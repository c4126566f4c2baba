"""Feedforward: applied to each token alone. Most of a Transformer's parameters are here.

Dense ones (``mlp``, ``glu``) pass every token through all their weights, sparse ones (``moe``) through a few of many
experts.

Shapes: B batch, L tokens, M features of the model; in ``moe`` N tokens of the whole batch, E experts, K of them for
each token.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..registry import ComponentConfig, Slot, component, register
from .base import BuildContext, Linear
from .context import ForwardContext

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "squared_relu", "sigmoid", "identity"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "squared_relu": lambda x: F.relu(x).square(),
    "sigmoid": lambda x: x.sigmoid(),
    "identity": lambda x: x,
}


class Feedforward(nn.Module):
    """Base of the feedforwards: each token is transformed on its own."""

    left_out: ClassVar[bool] = False
    """Whether blocks go without this sublayer."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        raise NotImplementedError


@register("feedforward", "none", source="Dong et al. 2021, arXiv:2103.03404, on attention without it")
class NoFeedforward(Feedforward):
    """The sublayer is left out, with its norm and its residual: layers only mix tokens."""

    left_out = True

    def __init__(self, build: BuildContext):
        super().__init__()


@register("feedforward", "mlp", source="Vaswani et al. 2017, arXiv:1706.03762")
class MLP(Feedforward):
    """W2 f(W1 x): a map up to ``expansion`` times the width, an activation, and a map back down."""

    def __init__(
        self,
        build: BuildContext,
        *,
        activation: Activation = "gelu",
        expansion: Annotated[float, Field(gt=0)] = 4.0,
        bias: bool = False,
    ):
        super().__init__()
        width = max(1, round(expansion * build.d_model))
        self.up = nn.Linear(build.d_model, width, bias)
        self.down = Linear(width, build.d_model, bias, role="out_projection")
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(build.dropout)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(x))))


@register("feedforward", "glu", source="Shazeer 2020, arXiv:2002.05202")
class GLU(Feedforward):
    """W3 (f(W1 x) * W2 x): one map up gates the other (silu: SwiGLU, gelu: GEGLU, relu: ReGLU, identity: bilinear).

    Three maps with an ``expansion`` of 8/3 have as many parameters as the two of ``mlp`` with 4. The inner width is
    rounded to a multiple of 8.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        activation: Activation = "silu",
        expansion: Annotated[float, Field(gt=0)] = 8 / 3,
        bias: bool = False,
    ):
        super().__init__()
        width = max(8, 8 * round(expansion * build.d_model / 8))
        self.gate = nn.Linear(build.d_model, width, bias)
        self.up = nn.Linear(build.d_model, width, bias)
        self.down = Linear(width, build.d_model, bias, role="out_projection")
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(build.dropout)

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        return self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))


@register(
    "feedforward",
    "moe",
    source="Shazeer et al. 2017, arXiv:1701.06538; aux_loss_coef: Fedus et al. 2021, arXiv:2101.03961; "
    "router_z_loss_coef: Zoph et al. 2022, arXiv:2202.08906",
)
class MixtureOfExperts(Feedforward):
    """sum of p_e f_e(x) over the ``top_k`` largest p = softmax(R x): each token passes through a few of ``n_experts``.

    No token is dropped. ``renormalize`` divides the chosen p by their sum, as in Mixtral; Switch and OLMoE do not. In
    training each such layer adds two terms to the loss: ``aux_loss_coef`` E sum_e (choices of e per token) (mean p_e),
    which is ``aux_loss_coef`` ``top_k`` when all experts are used equally, and ``router_z_loss_coef`` times the mean of
    logsumexp(R x)^2. Padding counts in neither. ``expert`` is any feedforward; each has its own parameters.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        n_experts: Annotated[int, Field(ge=1)] = 8,
        top_k: Annotated[int, Field(ge=1)] = 2,
        renormalize: bool = True,
        aux_loss_coef: Annotated[float, Field(ge=0)] = 0.01,
        router_z_loss_coef: Annotated[float, Field(ge=0)] = 0.001,
        expert: Annotated[ComponentConfig[Feedforward], Slot("feedforward")] = component("feedforward", "mlp"),
    ):
        super().__init__()
        if expert.component.left_out:
            raise ValueError(f"expert {expert.name}: a mixture of nothing; leave it out as a whole, feedforward: none")
        if top_k > n_experts:
            raise ValueError(f"top_k {top_k} is more than n_experts {n_experts}")
        if renormalize and top_k == 1 < n_experts:
            raise ValueError(
                "top_k 1 needs renormalize: false, since a weight that is always 1 gives the router no gradient"
            )
        self.router = Linear(build.d_model, n_experts, bias=False, role="router")
        self.experts = nn.ModuleList(expert.build(build) for _ in range(n_experts))
        self.top_k, self.renormalize = top_k, renormalize
        self.aux_loss_coef, self.router_z_loss_coef = aux_loss_coef, router_z_loss_coef

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        tokens = x.flatten(0, -2)
        scores = self.router(tokens)
        p = scores.softmax(-1)
        weights, chosen = p.topk(self.top_k, dim=-1)  # (N, K)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        if self.training and context.losses is not None:
            context.losses.append(self.loss(scores, p, chosen, context.padding))
        y = torch.zeros_like(tokens)
        for f, (token, choice) in zip(self.experts, self.assign(chosen), strict=True):
            weight = weights[token, choice].unsqueeze(-1)
            y = y.index_add(0, token, (weight * f(tokens[token], self.context_of(token, context))).to(y.dtype))
        return y.view_as(x)

    def assign(self, chosen: Tensor) -> list[tuple[Tensor, ...]]:
        """For each expert the indices of the tokens that chose it, and which of their K choices it was; from (N, K)."""
        if chosen.is_meta:  # only costs are counted and there are no choices: as if all experts were chosen equally
            n_tokens = -(-chosen.numel() // len(self.experts))
            return [(chosen.new_empty(n_tokens), chosen.new_empty(n_tokens)) for _ in self.experts]
        return [torch.where(chosen == expert) for expert in range(len(self.experts))]

    def context_of(self, token: Tensor, context: ForwardContext) -> ForwardContext:
        """The context of an expert's tokens, indices (N,): the padding is theirs, for an expert that is a mixture."""
        return context if context.padding is None else replace(context, padding=context.padding.flatten()[token])

    def loss(self, scores: Tensor, p: Tensor, chosen: Tensor, padding: Tensor | None) -> Tensor:
        """The loss that balances the experts and keeps scores small: (N, E), (N, E), (N, K) and (B, L) -> ()."""
        is_token = scores.new_ones(len(scores)) if padding is None else padding.flatten().to(scores.dtype)
        weight = is_token / is_token.sum()
        choices = torch.zeros_like(p).scatter(1, chosen, 1.0)
        balance = len(self.experts) * ((weight @ choices) * (weight @ p)).sum()
        return self.aux_loss_coef * balance + self.router_z_loss_coef * (weight @ scores.logsumexp(-1).square())
