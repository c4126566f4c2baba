"""Position: how a token learns where it stands. The contract first, then a module per family."""

from .absolute import Learned, Sinusoidal
from .bias import T5, Alibi, alibi_slopes
from .contract import Position, distance, frequencies
from .rotary import Rope

__all__ = ["T5", "Alibi", "Learned", "Position", "Rope", "Sinusoidal", "alibi_slopes", "distance", "frequencies"]
