"""Mixer: what tokens learn from each other. The contract first, then a module per family."""

from .attention import Attention
from .contract import Mixer

__all__ = ["Attention", "Mixer"]
