"""No mixer: a layer without one leaves out its first sublayer, with its norm and its residual."""

from ...registry import register
from ..base import BuildContext
from .base import Mixer


@register("mixer", "none", source="Tolstikhin et al. 2021, arXiv:2105.01601, on mixing tokens and features apart")
class NoMixer(Mixer):
    """The sublayer is left out: in such a layer no token sees another one, and nothing is cached.

    Heads have no effect, nor have positions, other than those added to the embeddings.
    """

    left_out = True
    cacheable = True
    position_hooks = ("embed",)
    uses_heads = False
    supports_cross_attention = False

    def __init__(self, build: BuildContext):
        super().__init__()
