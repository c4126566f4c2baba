"""The pluggable Transformer: its configuration, its architectures, its first weights."""

from .build import build_model, build_undrawn
from .config import ModelConfig

__all__ = ["ModelConfig", "build_model", "build_undrawn"]
