"""Linear maps, told apart by their place, since initialisations treat them differently."""

from torch import nn


class OutProjection(nn.Linear):
    """The last map of a sublayer: what it returns is added to the residual stream."""
