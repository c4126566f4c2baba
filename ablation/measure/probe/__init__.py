"""Probes: what can be read off a model before its first step, one module per idea."""

from . import attention, bag, batch, cache, gradients, parameters  # noqa: F401  fill the slot
from .contract import Probe, Subject

__all__ = ["Probe", "Subject"]
