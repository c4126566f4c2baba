"""Position: how a token learns where it stands. The contract first, then a module per family."""

from .absolute import Learned, Sinusoidal
from .bias import T5, Alibi, alibi_slopes
from .contract import Position, at_least_float32, distance, frequencies
from .kernel import Fire, KerpleLog, KerplePower
from .rotary import Rope, XPos

__all__ = [
    "T5",
    "Alibi",
    "Fire",
    "KerpleLog",
    "KerplePower",
    "Learned",
    "Position",
    "Rope",
    "Sinusoidal",
    "XPos",
    "alibi_slopes",
    "at_least_float32",
    "distance",
    "frequencies",
]
