"""Sparse feedforwards: every token passes through a few of many experts.

Shapes: B batch, L tokens, N tokens of the whole batch, M features of the model, E experts, K of them for each token.
"""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...registry import ComponentConfig, Slot, register
from ..context import Context
from ..shape import Shape
from .contract import Feedforward


class Router(nn.Linear):
    """The map from a token to the scores of the experts: drawn as every linear map, but not one of the stream."""


@register(
    "feedforward",
    "mixture",
    source="Shazeer et al. 2017, arXiv:1701.06538; balance: Fedus et al. 2021, arXiv:2101.03961; "
    "z: Zoph et al. 2022, arXiv:2202.08906",
)
class Mixture(Feedforward):
    """sum of p_e f_e(x) over the ``top_k`` largest p = softmax(R x): each token goes through a few of ``n_experts``.

    No token is dropped. ``renormalise`` divides the chosen p by their sum, as in Mixtral; without it is Switch's and
    OLMoE's. In training the loss of each such layer grows by ``balance`` E sum_e (choices of e per token) (mean p_e),
    which is ``balance`` ``top_k`` when all experts are used alike, and by ``z`` times the mean of logsumexp(R x)^2.
    Padding counts in neither. ``expert`` is any feedforward; each has parameters of its own.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        n_experts: Annotated[int, Field(ge=1)] = 8,
        top_k: Annotated[int, Field(ge=1)] = 2,
        renormalise: bool = True,
        balance: Annotated[float, Field(ge=0)] = 0.01,
        z: Annotated[float, Field(ge=0)] = 0.001,
        expert: Annotated[ComponentConfig, Slot("feedforward")] = "mlp",  # type: ignore[assignment]
    ):
        super().__init__()
        if top_k > n_experts:
            raise ValueError(f"top_k {top_k} is more than n_experts {n_experts}")
        if renormalise and top_k == 1 < n_experts:
            raise ValueError(
                "top_k 1 needs renormalise: false, for a share that is always 1 teaches the router nothing"
            )
        self.router = Router(shape.d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(expert.build(shape) for _ in range(n_experts))
        self.top_k, self.renormalise, self.balance, self.z = top_k, renormalise, balance, z

    def forward(self, x: Tensor, context: Context) -> Tensor:
        tokens = x.flatten(0, -2)
        scores = self.router(tokens)
        p = scores.softmax(-1)
        shares, chosen = p.topk(self.top_k, dim=-1)  # (N, K)
        if self.renormalise:
            shares = shares / shares.sum(-1, keepdim=True)
        if self.training and context.losses is not None:
            context.losses.append(self.loss(scores, p, chosen, context.padding))
        y = torch.zeros_like(tokens)
        for f, (token, choice) in zip(self.experts, self.assign(chosen), strict=True):
            share = shares[token, choice].unsqueeze(-1)
            y = y.index_add(0, token, (share * f(tokens[token], self.context_of(token, context))).to(y.dtype))
        return y.view_as(x)

    def assign(self, chosen: Tensor) -> list[tuple[Tensor, ...]]:
        """Expert by expert, the tokens that chose it and as their how-manieth choice."""
        if chosen.is_meta:  # nobody knows who chose what: costs are counted as if all were chosen alike
            share = -(-chosen.numel() // len(self.experts))
            return [(chosen.new_empty(share), chosen.new_empty(share)) for _ in self.experts]
        return [torch.where(chosen == expert) for expert in range(len(self.experts))]

    def context_of(self, token: Tensor, context: Context) -> Context:
        """What an expert, which may be a mixture itself, is to know of its tokens."""
        return context if context.padding is None else replace(context, padding=context.padding.flatten()[token])

    def loss(self, scores: Tensor, p: Tensor, chosen: Tensor, padding: Tensor | None) -> Tensor:
        """What keeps the experts used alike and the scores small; (N, E), (N, E), (N, K) and (B, L) -> ()."""
        real = scores.new_ones(len(scores)) if padding is None else padding.flatten().to(scores.dtype)
        real = real / real.sum()
        choices = torch.zeros_like(p).scatter(1, chosen, 1.0)
        used_alike = len(self.experts) * ((real @ choices) * (real @ p)).sum()
        return self.balance * used_alike + self.z * (real @ scores.logsumexp(-1).square())
