"""The parts that can be exchanged: one module per slot, contract first, then its members.

Importing this package fills the slots.
"""

from . import (
    backend,
    block,
    feedforward,
    initialisation,
    mixer,
    norm,
    optimiser,
    position,
    residual,
    schedule,
)

__all__ = [
    "backend",
    "block",
    "feedforward",
    "initialisation",
    "mixer",
    "norm",
    "optimiser",
    "position",
    "residual",
    "schedule",
]
