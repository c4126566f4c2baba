"""Residual: how what a sublayer says joins what carries everything past it. The contract first, then its members."""

from .contract import Residual
from .single import LayerScale, Plain, ReZero, Scaled
from .streams import HyperConnections, ManifoldHyperConnections

__all__ = ["HyperConnections", "LayerScale", "ManifoldHyperConnections", "Plain", "ReZero", "Residual", "Scaled"]
