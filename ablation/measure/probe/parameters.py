"""Where the parameters are."""

from ...components.block import Block
from ...components.feedforward import Feedforward
from ...registry import register
from .contract import Probe, Subject


@register("probe", "feedforward_share", source="Geva et al. 2020, arXiv:2012.14913")
class FeedforwardShare(Probe):
    """The share of the blocks' parameters that the feedforward sublayers hold; embeddings and readout not counted."""

    def __call__(self, subject: Subject) -> float:
        blocks = [module for module in subject.model.modules() if isinstance(module, Block)]
        of_blocks = sum(parameter.numel() for block in blocks for parameter in block.parameters())
        sublayers = [sublayer for block in blocks for sublayer in block.sublayers]
        feedforwards = [sublayer for sublayer in sublayers if isinstance(sublayer, Feedforward)]
        return sum(parameter.numel() for layer in feedforwards for parameter in layer.parameters()) / of_blocks
