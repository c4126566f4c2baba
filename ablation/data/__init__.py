"""Tasks: what is learnt and how it is scored; each a registered component. Importing this package fills the slot."""

from . import copying, text

__all__ = ["copying", "text"]
