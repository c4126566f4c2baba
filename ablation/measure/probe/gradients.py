"""How gradients depend on depth at the first step."""

import math
from statistics import stdev

import torch

from ...components.block import Block
from ...components.feedforward import Feedforward
from ...components.linear import OutProjection
from ...registry import register
from .contract import Probe, Subject


def gradient_norms(subject: Subject) -> list[float]:
    """Of the last map of each block's feedforward, from the first block to the last, of the loss of one batch.

    It is the map that the theorem of Xiong et al. is about. Errors: ValueError where there are no depths to compare.
    """
    blocks = [module for module in subject.model.modules() if isinstance(module, Block)]
    if len(blocks) < 2:
        raise ValueError("gradient norms by depth: they need two layers or more")
    weights = [[module.weight for module in _last_maps(block)] for block in blocks]
    loss = subject.loss(subject.examples())
    flat = torch.autograd.grad(loss, [weight for layer in weights for weight in layer], materialize_grads=True)
    found, gradients = [], iter(flat)
    for layer in weights:
        found.append(math.sqrt(sum(float(next(gradients).square().sum()) for _ in layer)))
    if not all(found):
        raise ValueError("gradient norms by depth: a layer has no gradient, so there is no logarithm of it")
    return found


def _last_maps(block: Block) -> list[OutProjection]:
    feedforwards = [sublayer for sublayer in block.sublayers if isinstance(sublayer, Feedforward)]
    return [module for layer in feedforwards for module in layer.modules() if isinstance(module, OutProjection)]


@register("probe", "gradient_last_to_first", source="Xiong et al. 2020, arXiv:2002.04745")
class GradientLastToFirst(Probe):
    """The logarithm of the last layer's gradient norm over the first layer's; 0: both learn alike."""

    def __call__(self, subject: Subject) -> float:
        norms = gradient_norms(subject)
        return math.log(norms[-1] / norms[0])


@register("probe", "gradient_unevenness", source="Wang et al. 2022, arXiv:2203.00555")
class GradientUnevenness(Probe):
    """The standard deviation of the logarithm of the gradient norm over the layers; 0: all learn alike."""

    better = "lower"

    def __call__(self, subject: Subject) -> float:
        return stdev(math.log(norm) for norm in gradient_norms(subject))
