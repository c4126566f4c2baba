"""Feedforward: what a token makes of what it has learned. The contract first, then a module per family."""

from .contract import ACTIVATIONS, Activation, Feedforward
from .dense import GLU, MLP
from .mixture import Mixture, Router

__all__ = ["ACTIVATIONS", "GLU", "MLP", "Activation", "Feedforward", "Mixture", "Router"]
