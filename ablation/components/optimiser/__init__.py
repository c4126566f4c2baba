"""Optimiser: how gradients become steps. The contract first, then a module per family."""

from .adaptive import Adafactor, AdamW
from .contract import Optimiser, decay_groups, hidden_matrices
from .momentum import SGD, Lion
from .muon import Muon
from .soap import SOAP

__all__ = ["SGD", "SOAP", "Adafactor", "AdamW", "Lion", "Muon", "Optimiser", "decay_groups", "hidden_matrices"]
