"""Linear maps, told apart by their place, since initialisations treat them differently."""

from torch import nn


class ClassHead(nn.Linear):
    """The last map of a model that tells classes."""


class UnscaledQuery(nn.Linear):
    """Makes the queries of scores that nothing divides by sqrt(D), so that a scheme may draw it narrower instead."""

    def __init__(self, in_features: int, out_features: int, bias: bool, d_head: int):
        super().__init__(in_features, out_features, bias)
        self.d_head = d_head


class OutProjection(nn.Linear):
    """The last map of a sublayer: what it returns is added to the residual stream."""
