"""How gradients depend on depth at the first step."""

import math

import torch

from ...components.block import Block
from ...registry import register
from .contract import Probe, Subject


def gradient_norms(subject: Subject) -> list[float]:
    """Of each block's parameters, from the first to the last, of the loss of one batch."""
    subject.model.zero_grad()
    subject.loss(subject.examples()).backward()
    blocks = [module for module in subject.model.modules() if isinstance(module, Block)]
    return [
        math.sqrt(sum(float(p.grad.square().sum()) for p in block.parameters() if p.grad is not None))
        for block in blocks
    ]


@register("probe", "gradient_last_to_first", source="Xiong et al. 2020, arXiv:2002.04745")
class GradientLastToFirst(Probe):
    """The logarithm of the ratio of the last block's gradient norm to the first block's; 0: the same at every depth."""

    def __call__(self, subject: Subject) -> float:
        norms = gradient_norms(subject)
        return math.log(norms[-1] / norms[0])


@register("probe", "gradient_unevenness", source="Wang et al. 2022, arXiv:2203.00555")
class GradientUnevenness(Probe):
    """The standard deviation of the logarithm of the blocks' gradient norms; 0: all depths learn alike."""

    better = "lower"

    def __call__(self, subject: Subject) -> float:
        return float(torch.tensor(gradient_norms(subject)).log().std())
