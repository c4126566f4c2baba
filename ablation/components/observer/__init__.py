"""Observer: what is seen of a run's stability while it trains. The contract first, then a module per idea."""

from .activation import Activations
from .attention import AttentionLogits
from .contract import Course, Looks, Observer, blocks_of
from .depth import GradientByDepth
from .gradients import GradientNorms
from .log_z import LogZ
from .spikes import LossSpikes
from .update import UpdateRatio

__all__ = [
    "Activations",
    "AttentionLogits",
    "Course",
    "GradientByDepth",
    "GradientNorms",
    "LogZ",
    "Looks",
    "LossSpikes",
    "Observer",
    "UpdateRatio",
    "blocks_of",
]
